//! Just enough of a User-Agent header to know the browsers that need special treatment.

/// Names are those LiveKit's server reports, which clients of the API may compare.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct UserAgent {
    pub(super) browser: &'static str,
    pub(super) browser_version: String,
    pub(super) os: &'static str,
    pub(super) os_version: String,
}

/// Product tokens, most specific first: every browser also claims to be some other.
const BROWSERS: &[(&str, &str)] = &[
    ("OBS-Studio/", "OBS Studio"),
    ("Edg/", "Edge"),
    ("EdgA/", "Edge Mobile"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox iOS"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome Mobile iOS"),
    ("HeadlessChrome/", "HeadlessChrome"),
    ("Chrome/", "Chrome"),
    ("Version/", "Safari"),
];

const SYSTEMS: &[(&str, &str)] = &[
    ("Windows NT ", "Windows"),
    ("iPhone OS ", "iOS"),
    ("iPad; CPU OS ", "iOS"),
    ("Mac OS X ", "Mac OS X"),
    ("Android ", "Android"),
    ("CrOS ", "Chrome OS"),
    ("Android", "Android"),
    ("Linux", "Linux"),
];

impl UserAgent {
    pub(super) fn parse(header: &str) -> Self {
        let mut found = Self::default();
        if let Some((name, version)) = first(BROWSERS, header) {
            // `Version/` stands in the header of many; only Apple's is Safari.
            if name != "Safari" || header.contains("Safari/") {
                found.browser = mobile_name(name, header);
                found.browser_version = version;
            }
        }
        if let Some((name, version)) = first(SYSTEMS, header) {
            found.os = name;
            found.os_version = version.replace('_', ".");
        }
        found
    }
}

fn first(tokens: &[(&str, &'static str)], header: &str) -> Option<(&'static str, String)> {
    tokens.iter().find_map(|(token, name)| {
        let (_, after) = header.split_once(token)?;
        let version = after
            .split(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_')))
            .next()
            .unwrap_or_default();
        Some((*name, version.to_owned()))
    })
}

fn mobile_name(name: &'static str, header: &str) -> &'static str {
    match name {
        "Firefox" if header.contains("Mobile") || header.contains("Tablet") => "Firefox Mobile",
        "Chrome" if header.contains("Mobile") => "Chrome Mobile",
        "Safari" if header.contains("Mobile") => "Mobile Safari",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_recognised() {
        for (header, browser, version, os, os_version) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox",
                "140.0",
                "Linux",
                "",
            ),
            (
                "Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
                "Firefox Mobile",
                "140.0",
                "Android",
                "14",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
                "Edge",
                "141.0.0.0",
                "Windows",
                "10.0",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like \
                 Gecko) Version/18.5 Safari/605.1.15",
                "Safari",
                "18.5",
                "Mac OS X",
                "10.15.7",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 \
                 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
                "Mobile Safari",
                "18.5",
                "iOS",
                "18.5",
            ),
            ("node", "", "", "", ""),
        ] {
            let found = UserAgent::parse(header);
            assert_eq!(
                (found.browser, found.browser_version.as_str()),
                (browser, version)
            );
            assert_eq!((found.os, found.os_version.as_str()), (os, os_version));
        }
    }
}
