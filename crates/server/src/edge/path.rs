//! Request paths as the reference's mux reads them.

/// Drops one leading slash of `//…`.
#[must_use]
pub fn strip_double_slash(path: &str) -> &str {
    if path.starts_with("//") {
        path.get(1..).unwrap_or(path)
    } else {
        path
    }
}

/// The clean form of a path: no empty, `.` or `..` segments; a trailing slash stays.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut clean = format!("/{}", segments.join("/"));
    if clean != "/" && path.ends_with('/') {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [
            ("/", "/"),
            ("/rtc/validate", "/rtc/validate"),
            ("/rtc//validate", "/rtc/validate"),
            ("//rtc/validate", "/rtc/validate"),
            ("/rtc/../rtc/validate", "/rtc/validate"),
            ("/../..", "/"),
            ("/rtc/", "/rtc/"),
            ("/a/./b//", "/a/b/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
        assert_eq!(strip_double_slash("//rtc"), "/rtc");
        assert_eq!(strip_double_slash("///rtc"), "//rtc");
        assert_eq!(strip_double_slash("/rtc"), "/rtc");
    }
}
