//! ClientInfo: from v0 query parameters, and what the User-Agent adds.

use crate::proto::ClientInfo;
use crate::proto::client_info::{Capability, Sdk};
use crate::query::Query;

/// ClientInfo of a v0 connect.
#[must_use]
pub fn client_of_query(query: &Query) -> ClientInfo {
    let text = |name| query.text(name).to_owned();
    ClientInfo {
        sdk: sdk_of_name(query.text("sdk")).into(),
        version: text("version"),
        protocol: query.number("protocol"),
        os: text("os"),
        os_version: text("os_version"),
        device_model: text("device_model"),
        browser: text("browser"),
        browser_version: text("browser_version"),
        network: text("network"),
        client_protocol: query.number("client_protocol"),
        capabilities: query
            .text("capabilities")
            .split(',')
            .filter_map(|name| Capability::from_str_name(name.trim()))
            .map(i32::from)
            .collect(),
        ..ClientInfo::default()
    }
}

/// Longest text of a ClientInfo, bytes. What is longer is cut.
const TEXT_BYTES_MAX: usize = 1024;
/// Most capabilities, far more than are defined.
const CAPABILITIES_MAX: usize = 32;

/// Bounds what a client says of itself: it is kept as long as the client is there, and its
/// capabilities are told to everybody.
#[must_use]
pub fn bounded_client(mut client: ClientInfo) -> ClientInfo {
    for text in [
        &mut client.version,
        &mut client.os,
        &mut client.os_version,
        &mut client.device_model,
        &mut client.browser,
        &mut client.browser_version,
        &mut client.address,
        &mut client.network,
        &mut client.other_sdks,
    ] {
        if text.len() > TEXT_BYTES_MAX {
            *text = cut(text).to_owned();
        }
    }
    let mut seen = Vec::new();
    for capability in std::mem::take(&mut client.capabilities) {
        if seen.len() < CAPABILITIES_MAX && !seen.contains(&capability) {
            seen.push(capability);
        }
    }
    client.capabilities = seen;
    client
}

/// A copy keeps nothing of what was longer.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX))
        .unwrap_or_default()
}

fn sdk_of_name(name: &str) -> Sdk {
    match name {
        "js" => Sdk::Js,
        "ios" | "swift" => Sdk::Swift,
        "android" => Sdk::Android,
        "flutter" => Sdk::Flutter,
        "go" => Sdk::Go,
        "unity" => Sdk::Unity,
        "reactnative" => Sdk::ReactNative,
        "rust" => Sdk::Rust,
        "python" => Sdk::Python,
        "cpp" => Sdk::Cpp,
        "unityweb" => Sdk::UnityWeb,
        "node" => Sdk::Node,
        "esp32" => Sdk::Esp32,
        _ => Sdk::Unknown,
    }
}

/// Adds the address, and for SDKs that run in browsers what the User-Agent tells and the client
/// did not.
pub fn complete_client(client: &mut ClientInfo, address: &str, user_agent: &str) {
    let user_agent = cut(user_agent);
    client.address = cut(address).to_owned();
    let in_browser = matches!(
        client.sdk(),
        Sdk::Js | Sdk::ReactNative | Sdk::Flutter | Sdk::Unity | Sdk::Unknown
    );
    if !in_browser {
        return;
    }
    let (browser, browser_version) = browser_of(user_agent);
    if client.browser.is_empty() {
        browser.clone_into(&mut client.browser);
        browser_version.clone_into(&mut client.browser_version);
    }
    let (os, os_version) = os_of(user_agent);
    if client.os.is_empty() {
        os.clone_into(&mut client.os);
        client.os_version = os_version.replace('_', ".");
    }
    if client.device_model.is_empty() {
        device_of(user_agent).clone_into(&mut client.device_model);
    }
}

/// Family and version. The order matters: every browser claims to be the ones below it.
fn browser_of(user_agent: &str) -> (&str, &str) {
    let known = [
        ("OBS-Studio/", "OBS-Studio"),
        ("Edg/", "Edge"),
        ("EdgA/", "Edge Mobile"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("FxiOS/", "Firefox iOS"),
        ("CriOS/", "Chrome Mobile iOS"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "HeadlessChrome"),
    ];
    for (token, family) in known {
        if let Some(version) = version_after(user_agent, token) {
            let mobile = family == "Firefox" && user_agent.contains("Mobile");
            return (if mobile { "Firefox Mobile" } else { family }, version);
        }
    }
    if let Some(version) = version_after(user_agent, "Chrome/") {
        let mobile = user_agent.contains("Mobile");
        return (if mobile { "Chrome Mobile" } else { "Chrome" }, version);
    }
    match version_after(user_agent, "Version/") {
        Some(version) if user_agent.contains("Mobile/") => ("Mobile Safari", version),
        Some(version) if user_agent.contains("Safari/") => ("Safari", version),
        _ => ("", ""),
    }
}

fn os_of(user_agent: &str) -> (&str, &str) {
    if let Some(version) = version_after(user_agent, "Android ") {
        return ("Android", version);
    }
    if user_agent.contains("like Mac OS X") {
        return ("iOS", version_after(user_agent, " OS ").unwrap_or_default());
    }
    if let Some(version) = version_after(user_agent, "Mac OS X ") {
        return ("Mac OS X", version);
    }
    if let Some(version) = version_after(user_agent, "Windows NT ") {
        // Windows 11 still calls itself 10.0.
        return ("Windows", if version == "10.0" { "10" } else { version });
    }
    if user_agent.contains("CrOS") {
        return ("Chrome OS", "");
    }
    if user_agent.contains("Ubuntu") {
        return ("Ubuntu", "");
    }
    if user_agent.contains("Linux") {
        return ("Linux", "");
    }
    ("", "")
}

fn device_of(user_agent: &str) -> &str {
    ["iPhone", "iPad"]
        .into_iter()
        .find(|device| user_agent.contains(device))
        .or_else(|| user_agent.contains("Macintosh").then_some("Mac"))
        .unwrap_or_default()
}

fn version_after<'a>(text: &'a str, token: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(token)?;
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(rest.len());
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
        Chrome/131.0.0.0 Safari/537.36";
    const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0";
    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 \
        (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";

    fn completed(sdk: Sdk, user_agent: &str) -> [String; 5] {
        let mut client = ClientInfo {
            sdk: sdk.into(),
            ..ClientInfo::default()
        };
        complete_client(&mut client, "192.0.2.1", user_agent);
        assert_eq!(client.address, "192.0.2.1");
        [
            client.browser,
            client.browser_version,
            client.os,
            client.os_version,
            client.device_model,
        ]
    }

    #[test]
    fn query_fills_client_info() {
        let query = Query::parse(
            "sdk=swift&version=2.1&protocol=16&client_protocol=1&os=ios&network=wifi\
             &capabilities=CAP_PACKET_TRAILER,CAP_NOPE",
        );
        let client = client_of_query(&query);
        assert_eq!(client.sdk(), Sdk::Swift);
        assert_eq!((client.protocol, client.client_protocol), (16, 1));
        assert_eq!((client.os.as_str(), client.network.as_str()), ("ios", "wifi"));
        assert_eq!(client.capabilities, [i32::from(Capability::CapPacketTrailer)]);
        assert_eq!(client_of_query(&Query::parse("sdk=basic")).sdk(), Sdk::Unknown);
    }

    #[test]
    fn user_agent_fills_what_is_missing() {
        assert_eq!(
            completed(Sdk::Js, CHROME),
            ["Chrome", "131.0.0.0", "Linux", "", ""]
        );
        assert_eq!(
            completed(Sdk::Js, FIREFOX),
            ["Firefox", "133.0", "Windows", "10", ""]
        );
        assert_eq!(
            completed(Sdk::Js, IPHONE),
            ["Mobile Safari", "18.1", "iOS", "18.1", "iPhone"]
        );
        assert_eq!(
            completed(Sdk::Unknown, "OBS-Studio/31.0")[..2],
            ["OBS-Studio", "31.0"]
        );
    }

    #[test]
    fn native_clients_are_left_alone() {
        assert_eq!(completed(Sdk::Python, CHROME), [""; 5]);
    }

    #[test]
    fn what_is_kept_of_a_client_is_short() {
        let long = "9".repeat(1 << 20);
        let mut client = bounded_client(ClientInfo {
            version: long.clone(),
            other_sdks: long.clone(),
            network: "ä".repeat(1 << 20),
            capabilities: vec![1; 100_000],
            ..ClientInfo::default()
        });
        complete_client(&mut client, &long, &format!("Firefox/{long} Android {long}"));
        for text in [
            &client.version,
            &client.other_sdks,
            &client.network,
            &client.address,
            &client.browser_version,
            &client.os_version,
        ] {
            assert!(text.len() <= TEXT_BYTES_MAX && text.capacity() <= TEXT_BYTES_MAX);
        }
        assert_eq!(client.capabilities, [1]);
        assert!(client.capabilities.capacity() <= CAPABILITIES_MAX);
    }

    #[test]
    fn what_the_client_says_stays() {
        let mut client = ClientInfo {
            sdk: Sdk::Js.into(),
            browser: "brave".to_owned(),
            ..ClientInfo::default()
        };
        complete_client(&mut client, "", CHROME);
        assert_eq!(
            (client.browser.as_str(), client.browser_version.as_str()),
            ("brave", "")
        );
    }
}
