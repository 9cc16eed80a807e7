//! Configurations as people write them: read as Go's yaml.v3 reads them into LiveKit's settings, or refused.

use super::*;
use std::time::Duration;

const SECRET: &str = "goldensecretgoldensecretgoldensecret";

fn read(text: &str) -> Result<Config, String> {
    let sources = Sources {
        body: Some(text.to_owned()),
        ..Sources::default()
    };
    from_sources(&sources).map_err(|error| error.0)
}

/// A configuration with these lines, and a key.
fn with(lines: &str) -> Result<Config, String> {
    read(&format!("{lines}\nkeys: {{k: {SECRET}}}\n"))
}

#[test]
fn ports_are_whole_numbers_in_any_notation() {
    for port in [
        "7000",
        "+7000",
        "0x1b58",
        "0X1B58",
        "0b1101101011000",
        "0o15530",
        "015530",
        "7_000",
        "7e3",
        "7000.0",
        "7000.9",
        "!!int \"7000\"",
        "&port 7000 # a comment",
    ] {
        assert_eq!(
            with(&format!("port: {port}")).map(|config| config.port),
            Ok(7000),
            "{port}"
        );
    }
    for port in [
        "\"7000\"",
        "'0x1b58'",
        "!!str 7000",
        "0x",
        "7000,",
        "7 000",
        "-1",
        "true",
        ".inf",
        "4294967296",
        "[7000]",
    ] {
        let refusal = with(&format!("port: {port}")).expect_err(port);
        assert!(refusal.contains("config:1:"), "{port}: {refusal}");
    }
    assert_eq!(with("port:").map(|config| config.port), Ok(7880));
    assert_eq!(
        with("limit: {max_metadata_size: 0x1_00}").map(|config| config.limit.max_metadata_size),
        Ok(256)
    );
}

#[test]
fn flags_are_written_in_the_words_of_both_yamls() {
    let lite =
        |word: &str| with(&format!("rtc: {{use_ice_lite: {word}}}")).map(|config| config.rtc.use_ice_lite);
    for word in [
        "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y", "\"yes\"",
    ] {
        assert_eq!(lite(word), Ok(true), "{word}");
    }
    for word in [
        "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N", "'off'", "~",
    ] {
        assert_eq!(lite(word), Ok(false), "{word}");
    }
    for word in ["1", "0", "\"true\"", "tRUE", "yEs", "si"] {
        assert!(
            lite(word).expect_err(word).contains("must be true or false"),
            "{word}"
        );
    }
}

#[test]
fn durations_and_fractions_are_read_as_go_does() {
    let low = |text: &str| {
        let config = with(&format!("rtc: {{pli_throttle: {{low_quality: {text}}}}}"));
        config.map(|config| config.tuning.key_frame_throttle[0])
    };
    assert_eq!(low("1m30s"), Ok(Duration::from_secs(90)));
    assert_eq!(low("\"250ms\""), Ok(Duration::from_millis(250)));
    assert_eq!(low(".5s"), Ok(Duration::from_millis(500)));
    assert_eq!(low("\"0\""), Ok(Duration::ZERO));
    for text in ["0", "5", "1.5", "5 s", "true", "1h 2m"] {
        assert!(
            low(text).expect_err(text).contains("must be a duration"),
            "{text}"
        );
    }
    let limit = |text: &str| {
        let config = with(&format!("node_selector: {{cpu_load_limit: {text}}}"));
        config.map(|config| config.cpu_load_limit)
    };
    assert_eq!(
        (limit("0.5"), limit("5e-1"), limit("1"), limit("0x1")),
        (Ok(0.5), Ok(0.5), Ok(1.0), Ok(1.0))
    );
    assert!(limit("\"0.5\"").is_err() && limit(".nan").is_err());
}

#[test]
fn documents_come_in_many_forms() {
    let plain = format!("port: 7000\nrtc:\n  use_ice_lite: true\nkeys:\n  k: {SECRET}\n");
    let json = serde_json::json!({"port": 7000, "rtc": {"use_ice_lite": true}, "keys": {"k": SECRET}});
    let tabs = format!(
        "{{\n\t\"port\":\t7000,\n\t\"rtc\": {{\t\"use_ice_lite\": true}},\n\t\"keys\": {{\"k\": \"{SECRET}\"}}\n}}\n"
    );
    for text in [
        plain.clone(),
        format!("\u{feff}{plain}"),
        plain.replace('\n', "\r\n"),
        plain.replace('\n', "\r"),
        plain.trim_end().to_owned(),
        format!("{plain}\n\n  \n"),
        format!("---\n{plain}...\n"),
        format!("%YAML 1.1\n---\n{plain}"),
        format!("{plain}---\nport: 1\n"),
        plain.replace("7000", "7000\t# a tab"),
        plain.replace("k: ", "\"k\": "),
        plain.replace(SECRET, &format!("'{SECRET}'")),
        plain.replace(SECRET, &format!("|-\n    {SECRET}")),
        json.to_string(),
        serde_json::to_string_pretty(&json).expect("JSON"),
        tabs,
        format!("{{port: 7000, rtc: {{use_ice_lite: yes,}}, keys: {{k: {SECRET}}},}}"),
    ] {
        let config = read(&text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        assert_eq!((config.port, config.rtc.use_ice_lite), (7000, true), "{text}");
        assert_eq!(config.keys.secret("k"), Some(SECRET), "{text}");
    }
    let file = std::env::temp_dir().join(format!("plenum-utf16-{}.yaml", std::process::id()));
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let text = format!("\u{feff}{plain}");
        std::fs::write(&file, text.encode_utf16().flat_map(bytes).collect::<Vec<_>>()).expect("written");
        let sources = Sources {
            file: Some(file.clone()),
            ..Sources::default()
        };
        assert_eq!(from_sources(&sources).map(|config| config.port), Ok(7000));
    }
    std::fs::remove_file(&file).expect("removed");
}

#[test]
fn anchors_and_merge_keys_repeat_what_stands_elsewhere() {
    let config = with(
        "room: &room {empty_timeout: 7, departure_timeout: 8}\n\
         video: {codec_regression_threshold: &small 3}\n\
         limit: {subscription_limit_video: *small}\n",
    );
    assert_eq!(config.map(|config| config.limit.subscription_limit_video), Ok(3));
    let config = read(&format!(
        "rtc:\n  pli_throttle: &slow {{low_quality: 2s, mid_quality: 3s}}\n\
         room:\n  room_configurations:\n    a: &a {{empty_timeout: 5, max_participants: 2}}\n    \
         b:\n      <<: *a\n      max_participants: 9\n    c: {{<<: [{{metadata: m}}, *a]}}\n\
         keys: &keys {{k: {SECRET}}}\nlogging:\n  component_levels: {{<<: *keys}}\n"
    ))
    .expect("valid");
    let presets = &config.room.presets;
    assert_eq!(
        (presets["b"].empty_timeout, presets["b"].max_participants),
        (5, 9)
    );
    assert_eq!(
        (presets["c"].metadata.as_str(), presets["c"].max_participants),
        ("m", 2)
    );
    for (lines, expected) in [
        ("room: {<<: 5}", "config:1:12: only keys and values can be merged"),
        (
            "room: {<<: [{empty_timeout: 1}, 5]}",
            "only keys and values can be merged",
        ),
        (
            "limit: &l {num_tracks: 5}\nroom: {<<: *l}",
            "unknown key `room.num_tracks`",
        ),
        ("room: {<<: {}, <<: {}}", "config:1:16: unknown key `room.<<`"),
        ("port: *nobody", "config:1:7: "),
    ] {
        let refusal = with(lines).expect_err(lines);
        assert!(refusal.contains(expected), "{lines}: {refusal}");
    }
}

#[test]
fn mistakes_are_refused_with_their_place_and_without_secrets() {
    for (text, place) in [
        ("rtc:\n\tudp_port: 5\n", "config:2:"),
        (
            "port: 1\nport: 2\n",
            "config:2:1: key `port` was already given at line 1",
        ),
        (
            "{\"port\": 1, \"port\": 2}",
            "config:1:13: key `port` was already given",
        ),
        ("keys:\n  k: hunter2x\n  k: hunter2y\n", "config:3:3: "),
        ("keys: [hunter2x]\n", "config:1:7: "),
        ("keys: {k: [hunter2x]}\n", "config:1:11: "),
        (
            "redis: {pasword: hunter2x}\n",
            "config:1:9: unknown key `redis.pasword`",
        ),
        ("Port: 7000\n", "config:1:1: unknown key `Port`"),
        ("bind_addresses: 127.0.0.1\n", "config:1:17: "),
        ("keys: {k: \"hunter2x\n", "config:"),
        ("just a text\n", "config:1:1: "),
        ("- a list\n", "config:1:1: "),
    ] {
        let refusal = read(text).expect_err(text);
        assert!(refusal.contains(place), "{text}: {refusal}");
        assert!(!refusal.contains("hunter2"), "{text}: {refusal}");
    }
}

#[test]
fn secrets_are_the_texts_that_stand_there() {
    for secret in [
        "12345678901234567890123456789012",
        "1e400",
        "007",
        "yes",
        "0x12",
        "a#b",
        "x==",
        "true",
    ] {
        let config = read(&format!("keys:\n  k: {secret}\n")).expect("valid");
        assert_eq!(config.keys.secret("k"), Some(secret));
    }
    for nothing in ["", "~", "null", "\"\""] {
        let config = read(&format!("keys:\n  k: {nothing}\n")).expect("valid");
        assert_eq!(config.keys.secret("k"), None, "an empty secret opens nothing");
        assert_eq!(config.weak_keys(), ["k"]);
    }
}

#[test]
fn the_environment_writes_values_as_go_programs_take_them() {
    let set = |path: &str, value: &str| {
        let sources = Sources {
            keys: Some(format!("k: {SECRET}")),
            values: vec![(path.to_owned(), value.to_owned())],
            ..Sources::default()
        };
        from_sources(&sources).map_err(|error| error.0)
    };
    for value in ["1", "t", "T", "true", "TRUE"] {
        assert_eq!(
            set("rtc.use_ice_lite", value).map(|config| config.rtc.use_ice_lite),
            Ok(true),
            "{value}"
        );
    }
    for value in ["0", "f", "False"] {
        assert_eq!(
            set("rtc.use_ice_lite", value).map(|config| config.rtc.use_ice_lite),
            Ok(false),
            "{value}"
        );
    }
    for value in ["7000", "0x1b58", "7_000"] {
        assert_eq!(set("port", value).map(|config| config.port), Ok(7000), "{value}");
    }
    for (path, value) in [
        ("port", "7e3"),
        ("port", "x"),
        ("rtc.use_ice_lite", "2"),
        ("room.empty_timeout", "5s"),
    ] {
        assert!(set(path, value).is_err(), "{path} {value}");
    }
}
