//! The page as a whole: well-formed, self-contained, and unmoved by hostile names.

use super::super::fixture;
use super::super::model::{Results, Step};
use super::render;

/// Fails at the first tag that is not closed as XML wants it. Style and script hold no tags.
fn assert_well_formed(page: &str) {
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        assert_entities(&rest[..at]);
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        assert!(!tag.contains('<'), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            let name = tag.split_whitespace().next().unwrap();
            open.push(name);
            if let "style" | "script" = name {
                rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

fn assert_entities(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(
            known.iter().any(|entity| text[at..].starts_with(entity)),
            "{}",
            &text[at..]
        );
    }
}

#[test]
fn the_page_is_well_formed() {
    assert_well_formed(&render(&fixture::livestream()));
    assert_well_formed(&render(&fixture::foreign()));
    assert_well_formed(&render(&fixture::whole()));
    assert_well_formed(&render(&fixture::single()));
}

#[test]
fn the_page_loads_nothing() {
    // The foreign server's page has such words in its hostile names, as text.
    let page = render(&fixture::livestream());
    for word in [
        "src=", "href=", "url(", "@import", "fetch(", "XMLHttp", "import(", "http://", "https://",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn a_hostile_name_is_shown_and_not_run() {
    let page = render(&fixture::foreign());
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert!(page.contains("&quot;&gt;&lt;img src=x onerror=alert(1)&gt;"));
    assert!(page.contains("&lt;/p&gt;&lt;script&gt;alert(2)"));
    assert!(page.contains("own CPU 98 % &lt;busy&gt;"));
    assert!(!page.contains("<img") && !page.contains('\u{202e}'));
    assert_eq!(page.matches("<script").count(), 1);
}

#[test]
fn no_number_is_odd() {
    let mut odd = fixture::livestream();
    odd.steps.push(Step::default());
    odd.steps[2].measured_s = 0.0;
    odd.steps[3].measured_s = f64::NAN;
    odd.steps[4].offered.bytes_out = u64::MAX;
    let empty = Results::default();
    let mut single = fixture::livestream();
    single.steps.truncate(1);
    for results in [
        odd,
        empty,
        single,
        fixture::livestream(),
        fixture::foreign(),
    ] {
        let page = render(&results);
        let shown = &page[..page.find("<script>").unwrap()];
        for word in ["NaN", "inf\"", " inf ", "\"inf", "-inf"] {
            let at = shown
                .find(word)
                .map(|at| &shown[at.saturating_sub(200)..at + 20]);
            assert!(at.is_none(), "{word}: {at:?}");
        }
        assert_well_formed(&page);
    }
}

#[test]
fn every_figure_of_the_issue_is_there_with_its_table() {
    let page = render(&fixture::livestream());
    let headings: Vec<&str> = page
        .split("<h3>")
        .skip(1)
        .map(|rest| &rest[..rest.find("</h3>").unwrap()])
        .collect();
    assert_eq!(
        headings,
        [
            "Latency, CPU and loss against load",
            "Offered against delivered",
            "Latency by percentile",
            "Within the server, and end to end",
            "Arrival to last copy, by percentile",
            "Latency over time",
            "Packets per CPU second",
            "Mean train",
            "System calls per packet",
            "Wake-ups per second",
            "Memory per subscriber",
            "Time of a join",
            "Joins over time",
            "Capacity by size of the machine",
            "What mix of rooms fits",
            "Command",
            "Every step",
        ]
    );
    assert_eq!(page.matches("<details class=\"figures\">").count(), 14);
    assert_eq!(page.matches("<svg class=\"narrow\"").count(), 13);
    assert!(page.contains("SLO: p99 ≤ 5"));
    assert!(page.contains(">measured</em>") && page.contains(">projected</em>"));
}

/// No CPU is used up, and one packet in fifty takes 8 ms, of which the server's account knows nothing.
fn late() -> Results {
    let mut results = fixture::livestream();
    for step in &mut results.steps {
        for thread in &mut step.usage.as_mut().unwrap().threads {
            thread.cpu_s *= 0.3;
        }
        for shard in &mut step.shards {
            shard.lane_packets = None;
        }
        let few = step.latency.count() / 50;
        step.latency.record_many_ns(8_000_000, few);
    }
    results
}

#[test]
fn a_broken_bound_is_given_its_reason() {
    let mut results = late();
    let lead = |results: &Results| {
        let page = render(results);
        let at = page.find("<p class=\"lead reason\">");
        let text = page[at?..].split("</p>").next()?;
        Some(text.replace('\u{202f}', " ").replace("&#39;", "'"))
    };
    let outside = lead(&results).unwrap();
    assert!(
        outside.contains("So they wait outside of its forwarding"),
        "{outside}"
    );
    for step in &mut results.steps {
        for shard in &mut step.shards {
            for bucket in &mut shard.forwarding {
                let is_short = bucket.bound_us.is_some_and(|us| us < 7_000.0);
                bucket.count = if is_short { 0 } else { 1_000 };
            }
        }
    }
    // Nine of ten packets that come at one go, to 20 on a shard.
    let frame = |results: &mut Results, copy_us: f64| {
        for step in &mut results.steps {
            for shard in &mut step.shards {
                shard.rtp_forwarded = 20 * shard.rtp_received;
                shard.cpu_s = Some(shard.rtp_forwarded as f64 * copy_us / 1e6);
            }
        }
    };
    frame(&mut results, 45.0);
    let bursts = lead(&results).unwrap();
    assert!(
        bursts
            .contains("its own p99 from a packet's arrival to the last copy is 5.79 ms to 8.19 ms")
            && bursts.contains("packets of a frame in 20.0 copies each at 45.0 µs take"),
        "{bursts}"
    );
    assert!(render(&results).contains("limited by bursts on one shard"));
    frame(&mut results, 1.0);
    let within = lead(&results).unwrap();
    assert!(within.contains("and not for their frame alone"), "{within}");
    for step in &mut results.steps {
        step.shards.clear();
    }
    let silent = lead(&results).unwrap();
    assert!(
        silent.contains("its CPU was not used up, and of its own forwarding it tells nothing"),
        "{silent}"
    );
    for step in &mut results.steps {
        step.usage = None;
    }
    let unread = lead(&results).unwrap();
    assert!(unread.contains("its CPU was not watched"), "{unread}");
    // A used-up shard is reason enough.
    assert_eq!(lead(&fixture::livestream()), None);
}

#[test]
fn joins_that_failed_are_drawn() {
    let mut results = fixture::livestream();
    let failed = |results: &Results| render(results).matches("<rect class=\"bars loss\"").count();
    for step in &mut results.steps {
        for second in &mut step.joins.series {
            second.failed = 0;
        }
    }
    assert_eq!(failed(&results), 0);
    results.steps[5].joins.series[0].failed = 2;
    // Once at each width.
    assert_eq!(failed(&results), 3);
    assert!(render(&results).contains(" joined, 2 failed"));
}

#[test]
fn what_is_unknown_is_said() {
    let page = render(&fixture::foreign());
    assert!(!page.contains("last copy") && page.contains("its own forwarding latency"));
    assert!(page.contains("Not known for this server: packets per CPU second, mean train"));
    assert!(page.contains("Other machine sizes are projected from the server"));
    assert!(page.contains("The generator was the limit in 1 of 4 steps"));
    assert!(page.contains("The run was ended early"));
    assert!(page.contains("<h1>At least 2,000 subscribers</h1>"));
    assert!(!page.contains("<form"));
}

#[test]
fn one_load_is_shown_over_time() {
    let mut results = fixture::single();
    let page = render(&results);
    assert!(page.contains("<h1>3,000 viewers</h1>"));
    assert!(page.contains("Every bound held"));
    assert!(page.contains("<h3>Latency, bitrate, CPU and loss over time</h3>"));
    assert!(!page.contains("Where it bends"));
    results.steps[0].size = 1;
    assert!(render(&results).contains("<h1>1 viewer</h1>"));
    results.steps[0].integrity.lost = results.steps[0].integrity.expected / 2;
    assert!(render(&results).contains("It did not stay within bounds: 50"));
}

#[test]
fn encodings_are_told_apart_where_there_are_some() {
    let mut results = fixture::single();
    assert!(!render(&results).contains("Bitrate of each encoding"));
    let layers = &mut results.steps[0].delivered.layers;
    let mut highest = layers[0].clone();
    highest.name = "f".into();
    layers.push(highest);
    let page = render(&results);
    assert!(page.contains("Bitrate of each encoding"));
    assert!(
        page.contains("<th scope=\"col\">f</th>") && !page.contains("<th scope=\"col\">h</th>")
    );
}

/// For looking at it: `MILLRACE_REPORT_EXAMPLES=dir cargo test -p millrace-loadgen examples`.
#[test]
fn examples_are_written_where_wanted() {
    let Some(directory) = std::env::var_os("MILLRACE_REPORT_EXAMPLES") else {
        return;
    };
    let directory = std::path::PathBuf::from(directory);
    for (name, results) in [
        ("livestream", fixture::livestream()),
        ("foreign", fixture::foreign()),
        ("whole", fixture::whole()),
        ("single", fixture::single()),
    ] {
        std::fs::write(directory.join(format!("{name}.html")), render(&results)).unwrap();
        let json = results.to_json().unwrap();
        std::fs::write(directory.join(format!("{name}.json")), json).unwrap();
        std::fs::write(directory.join(format!("{name}.csv")), results.to_csv()).unwrap();
    }
}
