//! What is known of a client from its self-description: the rules that LiveKit's server has for certain
//! devices, and how it negotiates.

use crate::negotiation::ClientTraits;
use protocol::proto;

/// Codecs that a device must not use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientRules {
    /// Not at all.
    pub(crate) disabled: Vec<&'static str>,
    /// Not for publishing.
    pub(crate) disabled_publish: Vec<&'static str>,
}

impl ClientRules {
    /// The rules that apply, all of them merged.
    pub(crate) fn of(client: &proto::ClientInfo) -> Self {
        let browser = client.browser.to_lowercase();
        let os = client.os.to_lowercase();
        let device = client.device_model.to_lowercase();
        let mut rules = Self::default();
        if browser == "safari" {
            rules.disabled.push("video/AV1");
            if version_above(&client.browser_version, 18, 3) {
                rules.disabled_publish.push("video/VP9");
            }
        }
        if is_firefox(client) {
            rules.disabled.push("video/AV1");
        }
        if os == "android" && (device == "xiaomi 2201117ti" || is_firefox(client)) {
            rules.disabled_publish.push("video/H264");
        }
        rules
    }

    /// As told in join and reconnect responses; `None` without rules.
    pub(crate) fn configuration(&self) -> Option<proto::ClientConfiguration> {
        if self.disabled.is_empty() && self.disabled_publish.is_empty() {
            return None;
        }
        Some(proto::ClientConfiguration {
            disabled_codecs: Some(proto::DisabledCodecs {
                codecs: self.disabled.iter().map(|mime| codec(mime)).collect(),
                publish: self.disabled_publish.iter().map(|mime| codec(mime)).collect(),
            }),
            ..Default::default()
        })
    }

    /// Whether the client may use the codec at all.
    pub(crate) fn allows(&self, mime: &str) -> bool {
        !self.disabled.iter().any(|other| other.eq_ignore_ascii_case(mime))
    }

    /// Whether the client may publish with the codec.
    pub(crate) fn allows_publish(&self, mime: &str) -> bool {
        self.allows(mime)
            && !self
                .disabled_publish
                .iter()
                .any(|other| other.eq_ignore_ascii_case(mime))
    }
}

/// How the client negotiates.
pub(crate) fn traits(client: &proto::ClientInfo) -> ClientTraits {
    let os = client.os.to_lowercase();
    let firefox = is_firefox(client);
    ClientTraits {
        protocol: client.protocol,
        firefox,
        safari: client.browser.eq_ignore_ascii_case("safari"),
        ignores_answer_order: firefox && (os == "linux" || os == "android"),
    }
}

/// Whether a client is built on a stack known to take an offer while it still connects: LiveKit's own
/// SDKs on libwebrtc or pion. Any other may not be (aiortc is not, nor are embedded stacks).
pub(crate) fn renegotiates_at_any_time(client: &proto::ClientInfo) -> bool {
    use proto::client_info::Sdk;
    match client.sdk() {
        Sdk::Unknown | Sdk::Esp32 => false,
        Sdk::Js
        | Sdk::Swift
        | Sdk::Android
        | Sdk::Flutter
        | Sdk::Go
        | Sdk::Unity
        | Sdk::ReactNative
        | Sdk::Rust
        | Sdk::Python
        | Sdk::Cpp
        | Sdk::UnityWeb
        | Sdk::Node
        | Sdk::Unreal
        | Sdk::Dotnet => true,
    }
}

/// The list that a client may publish with: VP8, H264, other video, audio; no RTX.
pub(crate) fn publish_codecs(enabled: &[proto::Codec], rules: &ClientRules) -> Vec<proto::Codec> {
    let mut codecs: Vec<_> = enabled
        .iter()
        .filter(|codec| !codec.mime.eq_ignore_ascii_case("video/rtx") && rules.allows_publish(&codec.mime))
        .cloned()
        .collect();
    codecs.sort_by_key(|codec| match codec.mime.to_lowercase().as_str() {
        "video/vp8" => 0,
        "video/h264" => 1,
        mime if mime.starts_with("video/") => 2,
        _ => 3,
    });
    codecs
}

fn is_firefox(client: &proto::ClientInfo) -> bool {
    matches!(
        client.browser.to_lowercase().as_str(),
        "firefox" | "firefox mobile"
    )
}

fn codec(mime: &str) -> proto::Codec {
    proto::Codec {
        mime: mime.to_owned(),
        fmtp_line: String::new(),
    }
}

/// Whether `text` (`major.minor.patch…`) is at least a version. What is no version is the newest.
pub(crate) fn version_from(text: &str, least: [u32; 3]) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or(text);
    let mut parts = [0; 3];
    for (part, number) in parts.iter_mut().zip(numbers.split('.')) {
        match number.parse() {
            Ok(number) => *part = number,
            Err(_) => return true,
        }
    }
    parts >= least
}

/// Whether `text` (`major.minor…`) is a version above `major.minor`.
fn version_above(text: &str, major: u32, minor: u32) -> bool {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let patch = parts.next().unwrap_or(0);
    version > (major, minor) || (version == (major, minor) && patch > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_codecs;

    fn client(browser: &str, version: &str, os: &str) -> proto::ClientInfo {
        proto::ClientInfo {
            browser: browser.to_owned(),
            browser_version: version.to_owned(),
            os: os.to_owned(),
            ..Default::default()
        }
    }

    fn publishable(client: &proto::ClientInfo) -> String {
        publish_codecs(&default_codecs(), &ClientRules::of(client))
            .iter()
            .map(|codec| codec.mime.split('/').next_back().expect("a mime").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn publish_codecs_begin_with_vp8_and_h264_and_end_with_audio() {
        assert_eq!(
            publishable(&client("Chrome", "140", "Linux")),
            "VP8 H264 VP9 AV1 H265 PCMU PCMA opus red"
        );
        assert_eq!(
            ClientRules::of(&client("Chrome", "140", "Linux")).configuration(),
            None
        );
    }

    #[test]
    fn device_rules_disable_codecs_as_in_the_reference() {
        assert_eq!(
            publishable(&client("Safari", "17.0", "macOS")),
            "VP8 H264 VP9 H265 PCMU PCMA opus red"
        );
        assert_eq!(
            publishable(&client("Safari", "18.4", "macOS")),
            "VP8 H264 H265 PCMU PCMA opus red"
        );
        assert_eq!(
            publishable(&client("Firefox", "140", "Windows")),
            "VP8 H264 VP9 H265 PCMU PCMA opus red"
        );
        assert_eq!(
            publishable(&client("Firefox", "140", "Android")),
            "VP8 VP9 H265 PCMU PCMA opus red"
        );
        let mut xiaomi = client("Chrome", "", "Android");
        xiaomi.device_model = "Xiaomi 2201117TI".to_owned();
        assert_eq!(publishable(&xiaomi), "VP8 VP9 AV1 H265 PCMU PCMA opus red");
        let configuration = ClientRules::of(&client("Safari", "18.4", "macOS")).configuration();
        let disabled = configuration.expect("rules").disabled_codecs.expect("codecs");
        assert_eq!(disabled.codecs, vec![codec("video/AV1")]);
        assert_eq!(disabled.publish, vec![codec("video/VP9")]);
    }
}
