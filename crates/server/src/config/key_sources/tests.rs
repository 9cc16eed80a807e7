//! Texts of keys in, pairs or refusals out.

use super::*;

const SECRET: &str = "a-secret-of-more-than-32-characters-0";

fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let read = from_text(text).map_err(|error| error.0)?;
    Ok(read.0.into_iter().collect())
}

#[test]
fn keys_are_read_in_every_form_of_yaml() {
    let one = vec![("k".to_owned(), SECRET.to_owned())];
    for text in [
        "k: SECRET",
        "k: SECRET\n",
        "k: SECRET\r\n",
        "\n  k:   SECRET  \n",
        "{k: SECRET}",
        "{\"k\": \"SECRET\"}",
        "{\n\t\"k\":\t\"SECRET\"\n}",
        "\"k\": 'SECRET'",
        "# ours\nk: SECRET # mine\n",
        "---\nk: SECRET\n...\n",
        "k: >-\n  SECRET\n",
        "k: |-\n  SECRET\n",
        "? k\n: SECRET\n",
        "\u{feff}k: SECRET",
        "k: !!str SECRET",
        "%YAML 1.2\n---\nk: SECRET\n",
        "k: SECRET\n---\nother: x\n",
    ] {
        assert_eq!(pairs(&text.replace("SECRET", SECRET)), Ok(one.clone()), "{text}");
    }
    let several = pairs("a: one\n\"b\": 'two # no comment'\n12: x#y==\nc: \"5\"\nd: &s text\ne: *s\n");
    let expected = [
        ("12", "x#y=="),
        ("a", "one"),
        ("b", "two # no comment"),
        ("c", "5"),
        ("d", "text"),
        ("e", "text"),
    ];
    assert_eq!(
        several,
        Ok(expected.map(|(k, s)| (k.to_owned(), s.to_owned())).to_vec())
    );
}

#[test]
fn what_is_no_map_of_texts_is_refused_without_showing_it() {
    for text in [
        "k:hunter2",
        "hunter2",
        "[k, hunter2]",
        "k: hunter2\nk: hunter2",
        "k: \"hunter2",
        "\tk: hunter2\n\tl: hunter2",
        "{k: hunter2",
        "k: *hunter2",
        "k: 12345678901234567890123456789012",
        "k: 0x12\nl: true\nm:\n",
        "k: {l: hunter2}",
    ] {
        let refusal = pairs(text).expect_err(text);
        assert!(
            refusal.starts_with("Could not parse keys, it needs to be exactly"),
            "{text}: {refusal}"
        );
        assert!(!refusal.contains("hunter2"), "{text}: {refusal}");
    }
    let unclosed = pairs("a: b\nk: \"x\ny").expect_err("refused");
    assert!(unclosed.contains("(line "), "{unclosed}");
    let (read, others) = from_text("good: text\nbad: 5\nworse: {}\n").expect("one is good");
    assert_eq!(read.len(), 1);
    assert_eq!(others, ["bad", "worse"]);
}

#[test]
fn a_key_file_adds_to_the_other_keys() {
    let folder = std::env::temp_dir().join(format!("plenum-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("keys.yaml");
    std::fs::write(&path, "# ours\nboth: of the file\nfile: 007\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let sources = |keys: Option<&str>| Sources {
        keys: keys.map(str::to_owned),
        key_file: Some("$FOLDER/${NAME}.yaml".to_owned()),
        ..Sources::default()
    };
    let get = |name: &str| match name {
        "FOLDER" => folder.to_str().map(str::to_owned),
        "NAME" => Some("keys".to_owned()),
        _ => None,
    };
    let read = |keys| read(&sources(keys), &Settings::default(), get).map(|read| read.keys);
    let both = read(Some("both: of the text\ntext: x")).expect("read");
    let secrets = ["both", "text", "file"].map(|key| both.secret(key));
    assert_eq!(secrets, [Some("of the file"), Some("x"), Some("007")]);
    std::fs::write(&path, "both: hunter2\n  file: x\n").unwrap();
    let refusal = read(None).expect_err("refused").0;
    assert!(
        refusal.contains("keys.yaml:2:") && !refusal.contains("hunter2"),
        "{refusal}"
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        read(None).expect_err("refused").0,
        "key file others permissions must be set to 0"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn paths_of_key_files_are_expanded() {
    let get = |name: &str| (name == "HOME").then(|| "/users/ann".to_owned());
    for (path, expected) in [
        ("~/keys", "/users/ann/keys"),
        ("$HOME/keys", "/users/ann/keys"),
        ("${HOME}/keys", "/users/ann/keys"),
        ("/a/$NOBODY/b", "/a//b"),
        ("/plain", "/plain"),
    ] {
        assert_eq!(expand(path, get), expected);
    }
}
