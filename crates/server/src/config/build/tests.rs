//! Configuration texts in, settings or refusals out.

#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

use super::*;
use crate::config::Kind;
use std::time::Duration;

const KEYS: &str = "keys: {k: goldensecretgoldensecretgoldensecret}\n";

fn read(body: &str) -> Result<Config, String> {
    let sources = Sources {
        body: Some(format!("{KEYS}{body}")),
        ..Sources::default()
    };
    from_sources(&sources).map_err(|error| error.0)
}

fn refusal(body: &str) -> String {
    read(body).expect_err("refused")
}

#[test]
fn livekit_keys_are_read() {
    let config = read(
        "port: 27880\n\
         bind_addresses: [\"127.0.0.1\"]\n\
         rtc: {udp_port: 27882, tcp_port: 27881, node_ip: \"192.0.2.1,2001:db8::1\", use_ice_lite: yes}\n\
         room:\n  empty_timeout: 5\n  enabled_codecs:\n    - {mime: audio/opus}\n    - mime: video/vp8\n\
         limit: {max_room_name_length: 20}\n\
         audio: {enable_loss_proxying: true, active_red_encoding: true}\n\
         video: {codec_regression_threshold: 2}\n\
         plenum: {media: {threads: 2, spread_rooms: true}}\n",
    )
    .expect("valid");
    assert_eq!((config.port, config.bind_addresses.len()), (27880, 1));
    assert_eq!(config.rtc.udp_port, UdpPorts::Single(27882));
    assert_eq!(config.rtc.node_ip.len(), 2);
    assert!(config.rtc.use_ice_lite && config.room.auto_create);
    assert!(config.tuning.loss_proxying && config.tuning.active_red);
    assert_eq!(config.room.codec_regression_threshold, 2);
    assert_eq!(
        (config.room.empty_timeout_s, config.room.departure_timeout_s),
        (5, 20)
    );
    let codecs: Vec<_> = config
        .room
        .enabled_codecs
        .iter()
        .map(|codec| codec.mime.as_str())
        .collect();
    assert_eq!(codecs, ["audio/opus", "video/vp8"]);
    assert_eq!(config.limit.max_room_name_length, 20);
    assert_eq!(
        (config.plenum.media_threads, config.plenum.spread_rooms),
        (Some(2), true)
    );
    assert_eq!(config.not_built, ["rtc.tcp_port"]);
    let defaults = read("rtc: {tcp_port: 7881, use_external_ip: false}\nsip: {}\n").expect("valid");
    assert!(defaults.not_built.is_empty());
}

#[test]
fn every_key_of_the_table_is_accepted() {
    let sample = |kind: Kind| match kind {
        Kind::Bool => "true",
        Kind::Duration => "5s",
        Kind::Text => "text",
        Kind::Float => "0.5",
        _ => "1",
    };
    // Each key in a document of its own, its sections around it.
    for key in keys::all().filter(|key| key.kind.is_scalar() && !key.path.contains(['[', '<'])) {
        let mut body = String::new();
        for (depth, name) in key.path.split('.').enumerate() {
            body.push_str(&format!("{}{name}:\n", "  ".repeat(depth)));
        }
        let body = format!("{} {}\n", body.trim_end(), sample(key.kind));
        let root = tree::parse(&body).expect("YAML").expect("a document");
        let read = settings::check(&root, true).expect("accepted");
        assert_eq!(read.text(key.path), Some(sample(key.kind)), "{body}");
    }
}

#[test]
fn durations_in_flags_need_a_unit() {
    let set = |value: &str| {
        let path = "room.create_room_timeout".to_owned();
        let sources = Sources {
            keys: Some("a: b".to_owned()),
            values: vec![(path, value.to_owned())],
            ..Sources::default()
        };
        from_sources(&sources).is_ok()
    };
    assert!(set("7s") && !set("7"));
}

#[test]
fn an_unknown_key_is_shown_with_the_nearest_right_one() {
    assert_eq!(
        refusal("room: {emtpy_timeout: 1}\n"),
        "could not parse config:\n\
         config:2:8: unknown key `room.emtpy_timeout`\n \
         2 | room: {emtpy_timeout: *}\n   \
         |        ^^^^^^^^^^^^^\n   \
         did you mean `room.empty_timeout`?"
    );
    assert!(refusal("max_participants: 5\n").ends_with("did you mean `room.max_participants`?"));
}

#[test]
fn comments_and_anchors_stand_anywhere() {
    let config = read(
        "# before\nrtc: # behind\n  # inside\n  node_ip: &ip 192.0.2.1 # value\n  # after\n\
         # between\nbind_addresses:\n  # first\n  - *ip\n  # last\n",
    )
    .expect("valid");
    assert_eq!(config.bind_addresses, config.rtc.node_ip);
}

#[test]
fn every_problem_is_told() {
    let text = refusal("nonsense: 1\nport: abc\n");
    assert!(text.contains("config:2:1: unknown key `nonsense`"), "{text}");
    assert!(
        text.contains("config:3:7: `port` must be a whole number, not negative, not `abc`"),
        "{text}"
    );
}

#[test]
fn values_are_strictly_typed() {
    for (body, expected) in [
        (
            "room: {empty_timeout: soon}",
            "`room.empty_timeout` must be a whole number",
        ),
        (
            "room: {auto_create: maybe}",
            "`room.auto_create` must be true or false",
        ),
        ("webhook: {urls: one}", "did you mean `[one]`?"),
        ("room: {create_room_timeout: 5 parsecs}", "must be a duration"),
        ("room: {create_room_timeout: 5}", "did you mean `5s`?"),
        (
            "room: {max_participants: -1}",
            "`room.max_participants` must be a whole number",
        ),
        ("room: 5", "`room` must be keys and values, not `5`"),
        ("rtc: {udp_port: abc}", "`rtc.udp_port` must be a port"),
        ("rtc: {udp_port: 27890-27885}", "`rtc.udp_port` must be a port"),
        (
            "rtc: {node_ip: nonsense}",
            "`rtc.node_ip` must be an IPv4 address",
        ),
        (
            "room: {room_configurations: {p: {nonsense: 5}}}",
            "unknown key `room.room_configurations.p.nonsense`",
        ),
        ("region: a\nregion: b", "key `region` was already given at line 2"),
        ("redis:\n\taddress: v", "config:3:"),
        ("x: {{{", "config:2:"),
    ] {
        let text = refusal(body);
        assert!(text.contains(expected), "{body}: {text}");
    }
}

#[test]
fn null_and_lenient_keys_are_passed_over() {
    assert!(read("room:\nregion: null\nrtc: ~\n").is_ok());
    let sources = Sources {
        body: Some(format!("{KEYS}nonsense: 1\n")),
        lenient: true,
        ..Sources::default()
    };
    assert!(from_sources(&sources).is_ok());
}

#[test]
fn keys_come_from_lines_too() {
    let keys = |text: &str| {
        let sources = Sources {
            keys: Some(text.to_owned()),
            ..Sources::default()
        };
        from_sources(&sources)
            .map(|config| config.keys.len())
            .map_err(|error| error.0)
    };
    assert_eq!(keys("a: s\nb: t"), Ok(2));
    assert_eq!(
        keys("a:s"),
        Err("Could not parse keys, it needs to be exactly, \"key: secret\", including the space".to_owned())
    );
    let none = from_sources(&Sources::default())
        .map(|_| ())
        .map_err(|error| error.0);
    assert_eq!(none, Err("one of key-file or keys must be provided".to_owned()));
}

#[test]
fn dev_mode_has_its_own_keys_and_stays_on_loopback() {
    let dev = |body: &str, bind: &[&str]| {
        let sources = Sources {
            body: Some(body.to_owned()),
            development: true,
            bind: bind.iter().map(|bind| (*bind).to_owned()).collect(),
            ..Sources::default()
        };
        from_sources(&sources).expect("valid")
    };
    let plain = dev("", &[]);
    assert_eq!(plain.keys.secret("devkey"), Some("secret"));
    assert!(plain.bind_addresses.iter().all(IpAddr::is_loopback) && plain.bind_addresses.len() == 2);
    assert_eq!(plain.rtc.udp_port, UdpPorts::Single(7882));
    assert!(plain.page_enabled());
    assert_eq!(plain.logging.level, "debug");
    assert_eq!(dev("", &["0.0.0.0"]).bind_addresses.len(), 1);
    let own = dev(KEYS, &[]);
    assert!(own.bind_addresses.is_empty() && own.keys.secret("devkey").is_none());
}

#[test]
fn single_values_come_from_flags_and_the_environment() {
    assert_eq!(environment_name("rtc.tcp_port"), "LIVEKIT_RTC_TCP_PORT");
    let values = from_environment(|name| (name == "LIVEKIT_ROOM_EMPTY_TIMEOUT").then(|| "5".to_owned()));
    assert_eq!(values, [("room.empty_timeout".to_owned(), "5".to_owned())]);
    let sources = Sources {
        body: Some(format!("{KEYS}room: {{empty_timeout: 9}}")),
        values,
        ..Sources::default()
    };
    assert_eq!(from_sources(&sources).expect("valid").room.empty_timeout_s, 5);
    let sources = Sources {
        values: vec![("room.empty_timeout".to_owned(), "abc".to_owned())],
        ..Sources::default()
    };
    assert!(
        from_sources(&sources)
            .expect_err("refused")
            .0
            .contains("room.empty_timeout")
    );
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    for (body, expected) in [
        (
            "webhook: {urls: ['http://127.0.0.1:9/']}",
            "api_key is required to use webhooks",
        ),
        (
            "webhook: {urls: ['http://127.0.0.1:9/'], api_key: other}",
            "api_key is required to use webhooks",
        ),
        (
            "rtc: {tcp_port: 0, force_tcp: true}",
            "TCP is forced but not configured",
        ),
        ("node_selector: {kind: nonsense}", "unsupported node selector"),
        (
            "node_selector: {kind: regionaware}",
            "current region cannot be blank",
        ),
        ("turn: {enabled: true}", "invalid TURN ports"),
        ("turn: {enabled: true, tls_port: 27885}", "TURN domain required"),
        (
            "bind_addresses: [\"999.1.1.1\"]",
            "listen tcp: lookup 999.1.1.1: no such host",
        ),
    ] {
        assert_eq!(refusal(body), expected, "{body}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let config = read("redis: {address: \"127.0.0.1:6379\", password: hunter2}\n").expect("valid");
    let shown = config.shown.join("\n");
    assert!(shown.contains("redis.address = 127.0.0.1:6379"), "{shown}");
    assert!(shown.contains("k: <hidden>"), "{shown}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("goldensecret"),
        "{shown}"
    );
}

#[test]
fn presets_become_room_configurations() {
    let config = read("room: {room_configurations: {p: {empty_timeout: 5, metadata: m}}}").expect("valid");
    assert_eq!(config.room.presets["p"].empty_timeout, 5);
}

#[test]
fn whether_video_may_be_paused_is_read() {
    assert!(!read("").expect("valid").rtc.allow_pause);
    for (value, allowed) in [("true", true), ("false", false)] {
        let config = read(&format!(
            "rtc: {{congestion_control: {{allow_pause: {value}}}}}\n"
        ))
        .expect("valid");
        assert_eq!(config.rtc.allow_pause, allowed);
    }
    assert!(refusal("rtc: {congestion_control: {allow_pause: 7}}").contains("allow_pause"));
}

#[test]
fn the_share_of_retransmissions_is_read() {
    let share = |max_permille, burst_bytes| media::RtxShare {
        max_permille,
        burst_bytes,
    };
    let rtx = |text: &str| {
        let config = read(&format!("rtc: {{rtx_budget: {{{text}}}}}\n")).expect("valid");
        assert!(config.not_built.is_empty(), "{:?}", config.not_built);
        config.tuning.rtx
    };
    assert_eq!(
        rtx("audio: {max_ratio: 0.3, burst_bytes: 2000}, video: {max_ratio: 0.1, burst_bytes: 90000}"),
        [share(300, 2000), share(100, 90_000)]
    );
    assert_eq!(
        rtx("video: {max_ratio: 0.2}"),
        [media::RtxShare::AUDIO, share(200, 32_000)]
    );
    let off = rtx("audio: {max_ratio: 0}, video: {max_ratio: -1}");
    assert_eq!(off.map(|share| share.max_permille), [0, 0], "no limit");
    let odd = rtx("audio: {max_ratio: 0.0000001}, video: {max_ratio: 1e30}");
    assert_eq!(odd.map(|share| share.max_permille), [1, 1_000_000]);
    assert!(refusal("rtc: {rtx_budget: {video: {max_ratio: much}}}").contains("max_ratio"));
}

#[test]
fn limits_of_key_frames_and_slow_readers_are_read() {
    let ms = Duration::from_millis;
    let defaults = read("").expect("valid").tuning;
    assert_eq!(defaults, media::Tuning::default());
    let config = read(
        "rtc:\n  pli_throttle: {low_quality: 300ms, mid_quality: 600ms, high_quality: 2s}\n  \
         datachannel_slow_threshold: 500000\n  \
         datachannel_lossy_target_latency: 250ms\n  datachannel_data_track_target_latency: 0s\n",
    )
    .expect("valid");
    let tuning = config.tuning;
    assert_eq!(tuning.key_frame_throttle, [ms(300), ms(600), ms(2000)]);
    assert_eq!(tuning.slow_reader_bps, 500_000);
    assert_eq!(
        (tuning.lossy_latency, tuning.data_track_latency),
        (ms(250), ms(0))
    );
    assert!(config.not_built.is_empty(), "{:?}", config.not_built);
}

#[test]
fn what_makes_a_speaker_is_read() {
    let config =
        read("audio: {active_level: 30, min_percentile: 50, update_interval: 250, smooth_intervals: 4}\n");
    let config = config.expect("valid");
    let expected = media::Speaking {
        active_level_dbov: 30,
        active_percent_min: 50,
        window_ms: 250,
        smooth_windows: 4,
    };
    assert_eq!(config.tuning.speaking, expected);
    assert!(config.not_built.is_empty(), "{:?}", config.not_built);
}
