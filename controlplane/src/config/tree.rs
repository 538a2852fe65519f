//! The keys of a YAML document with the lines they stand on.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::keys::{KEYS, Support};

/// A document reduced to its keys.
#[derive(Debug)]
pub(super) enum KeyTree {
    Map(Vec<(Spanned<String>, KeyTree)>),
    List(Vec<KeyTree>),
    /// `set`: neither null, false, zero nor empty, so that it asks for something.
    Leaf {
        set: bool,
    },
}

struct KeyTreeVisitor;

impl<'de> Visitor<'de> for KeyTreeVisitor {
    type Value = KeyTree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyTree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value()?));
        }
        Ok(KeyTree::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<KeyTree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(KeyTree::List(items))
    }

    fn visit_bool<E>(self, value: bool) -> Result<KeyTree, E> {
        Ok(KeyTree::Leaf { set: value })
    }

    fn visit_i64<E>(self, value: i64) -> Result<KeyTree, E> {
        Ok(KeyTree::Leaf { set: value != 0 })
    }

    fn visit_u64<E>(self, value: u64) -> Result<KeyTree, E> {
        Ok(KeyTree::Leaf { set: value != 0 })
    }

    fn visit_f64<E>(self, value: f64) -> Result<KeyTree, E> {
        Ok(KeyTree::Leaf { set: value != 0.0 })
    }

    fn visit_str<E>(self, value: &str) -> Result<KeyTree, E> {
        Ok(KeyTree::Leaf {
            set: !value.is_empty(),
        })
    }

    fn visit_unit<E>(self) -> Result<KeyTree, E> {
        Ok(KeyTree::Leaf { set: false })
    }

    fn visit_bytes<E>(self, _value: &[u8]) -> Result<KeyTree, E> {
        Ok(KeyTree::Leaf { set: true })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<KeyTree, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Ok(KeyTree::Leaf { set: true })
    }
}

impl<'de> Deserialize<'de> for KeyTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyTreeVisitor)
    }
}

impl KeyTree {
    /// Whether anything in it asks for something.
    fn is_set(&self) -> bool {
        match self {
            Self::Map(entries) => entries.iter().any(|(_, value)| value.is_set()),
            Self::List(items) => !items.is_empty(),
            Self::Leaf { set } => *set,
        }
    }

    /// Path of the innermost key on `line`.
    pub(super) fn path_at(&self, line: u64) -> Option<String> {
        match self {
            Self::Map(entries) => entries.iter().rev().find_map(|(key, value)| {
                if let Some(below) = value.path_at(line) {
                    return Some(format!("{}.{below}", key.value));
                }
                (key.referenced.line() == line).then(|| key.value.clone())
            }),
            Self::List(items) => items.iter().find_map(|item| item.path_at(line)),
            Self::Leaf { .. } => None,
        }
    }
}

/// A key in the document that the table does not simply accept.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Finding {
    Unknown {
        path: String,
        line: u64,
    },
    Unserved {
        path: String,
        line: u64,
        why: &'static str,
    },
}

/// Every unknown and every unserved key, in the order of the document.
pub(super) fn findings(tree: &KeyTree) -> Vec<Finding> {
    let mut found = Vec::new();
    collect(tree, "", &mut found);
    found
}

fn collect(tree: &KeyTree, path: &str, found: &mut Vec<Finding>) {
    match tree {
        KeyTree::Leaf { .. } => {}
        KeyTree::List(items) => items.iter().for_each(|item| collect(item, path, found)),
        KeyTree::Map(entries) => {
            for (key, value) in entries {
                let path = join(path, &key.value);
                let line = key.referenced.line();
                match support(&path) {
                    None => found.push(Finding::Unknown { path, line }),
                    Some(Support::Open) => {}
                    Some(Support::Unserved(why)) => {
                        collect(value, &path, found);
                        if value.is_set() {
                            found.push(Finding::Unserved { path, line, why });
                        }
                    }
                    Some(Support::Served | Support::Part) => collect(value, &path, found),
                }
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// How far the key at `path` is served, `None` when nobody knows it. A section that the table
/// names only through its keys is a part of the whole.
pub(super) fn support(path: &str) -> Option<Support> {
    let section = |known: &str| {
        known
            .strip_prefix(path)
            .is_some_and(|below| below.starts_with('.'))
    };
    let parent_of_any = |known: &str| {
        known.strip_suffix(".*").is_some_and(|parent| {
            path.rsplit_once('.')
                .is_some_and(|(above, _)| above == parent)
        })
    };
    KEYS.iter()
        .find(|(known, _)| *known == path || parent_of_any(known))
        .map(|(_, support)| *support)
        .or_else(|| {
            KEYS.iter()
                .any(|(known, _)| section(known))
                .then_some(Support::Part)
        })
}

/// What the writer of an unknown key may have meant.
pub(super) fn suggestion(path: &str) -> String {
    let flat = |path: &str| path.replace(['.', '-'], "_").to_lowercase();
    let name = |path: &str| path.rsplit('.').next().map(flat).unwrap_or_default();
    let known = || KEYS.iter().map(|(known, _)| *known);
    let distance = |known: &str| edit_distance(&flat(known), &flat(path));

    // Served keys first: `udp_port` alone means rtc's, not TURN's.
    let served = KEYS
        .iter()
        .filter(|(_, support)| *support == Support::Served);
    let mut by_rank = served.map(|(known, _)| *known).chain(known());
    if let Some(elsewhere) = by_rank.find(|known| name(known) == name(path)) {
        return format!("write `{elsewhere}` instead, if you mean that");
    }
    let nearest = known().min_by_key(|known| distance(known));
    if let Some(nearest) = nearest.filter(|known| distance(known) <= 1 + name(path).len() / 6) {
        return format!("write `{nearest}` instead, if you mean that");
    }
    let above = path.rsplit_once('.').map_or("", |(above, _)| above);
    let mut siblings: Vec<_> = known()
        .filter_map(|known| match above {
            "" => known.split('.').next(),
            _ => known
                .strip_prefix(above)?
                .strip_prefix('.')?
                .split('.')
                .next(),
        })
        .collect();
    siblings.dedup();
    format!("remove it; known here: {}", siblings.join(", "))
}

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (diagonal + usize::from(ca != *cb))
                .min(above + 1)
                .min(left + 1);
            *cell = left;
            diagonal = above;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_key_once() {
        let mut paths: Vec<_> = KEYS.iter().map(|(path, _)| path).collect();
        paths.sort_unstable();
        let len = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), len);
    }

    #[test]
    fn edit_distances_are_right() {
        for (a, b, distance) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("udp_port", "udp_ports", 1),
            ("same", "same", 0),
        ] {
            assert_eq!(edit_distance(a, b), distance);
            assert_eq!(edit_distance(b, a), distance);
        }
    }

    #[test]
    fn sections_and_free_names_are_known() {
        assert_eq!(support("rtc"), Some(Support::Part));
        assert_eq!(support("keys"), Some(Support::Open));
        assert_eq!(support("rt"), None);
        assert_eq!(
            support("logging.component_levels.pion"),
            Some(Support::Part)
        );
        assert_eq!(support("rtc.udp_ports"), None);
    }
}
