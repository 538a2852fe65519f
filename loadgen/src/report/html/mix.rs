//! The calculator: what mix of rooms fits a machine. The page's script redoes it as numbers change.

use super::format;
use super::markup::Markup;
use crate::report::calculator::{
    AudioRooms, Livestreams, Load, MachineSize, Meetings, Mix, Prices, TRAFFIC,
};

/// The mix and the machine the calculator starts with.
const MIX: Mix = Mix {
    audio: AudioRooms {
        rooms: 10.0,
        size: 12.0,
        speakers: 2.0,
    },
    meeting: Meetings {
        rooms: 10.0,
        size: 6.0,
        tiles: 9.0,
    },
    livestream: Livestreams {
        rooms: 2.0,
        viewers: 150.0,
    },
};
const MACHINE: MachineSize = MachineSize {
    vcpus: 4.0,
    memory_bytes: 8e9,
    link_bps: 1e9,
};

/// A label, the name the script reads it by, and the value to start with.
type Input = (&'static str, &'static str, f64);

const INPUTS: [(&str, &[Input]); 4] = [
    (
        "Audio rooms",
        &[
            ("rooms", "audio.rooms", MIX.audio.rooms),
            ("people in each", "audio.size", MIX.audio.size),
            ("speaking at once", "audio.speakers", MIX.audio.speakers),
        ],
    ),
    (
        "Meetings",
        &[
            ("rooms", "meeting.rooms", MIX.meeting.rooms),
            ("people in each", "meeting.size", MIX.meeting.size),
            ("cameras shown", "meeting.tiles", MIX.meeting.tiles),
        ],
    ),
    (
        "Livestreams",
        &[
            ("streams", "livestream.rooms", MIX.livestream.rooms),
            (
                "viewers of each",
                "livestream.viewers",
                MIX.livestream.viewers,
            ),
        ],
    ),
    (
        "Machine",
        &[
            ("vCPUs", "machine.vcpus", MACHINE.vcpus),
            (
                "memory, GB",
                "machine.memory_gb",
                MACHINE.memory_bytes / 1e9,
            ),
            ("link, Gbit/s", "machine.link_gbps", MACHINE.link_bps / 1e9),
        ],
    ),
];

pub(super) fn draw(out: &mut Markup, prices: &Prices) {
    out.raw("<figure id=\"calculator\">\n<figcaption><h3>What mix of rooms fits</h3>");
    out.raw("<p>Change the numbers. Every packet is priced at what one cost in this run; ");
    out.text(format_args!(
        "voice is {} packets/s of {} B, a tile of a meeting {} of {} B, a livestream {} of {} B, \
         and {} speak at once in a meeting.",
        TRAFFIC.voice.pps,
        TRAFFIC.voice.bytes,
        TRAFFIC.tile.pps,
        format::count(TRAFFIC.tile.bytes),
        TRAFFIC.stream.pps,
        format::count(TRAFFIC.stream.bytes),
        TRAFFIC.voices_per_meeting
    ));
    out.raw("</p></figcaption>\n");
    // Numbers, booleans and names only: nothing of it can fail to be JSON.
    let costs = serde_json::to_string(prices).unwrap_or_default();
    let traffic = serde_json::to_string(&TRAFFIC).unwrap_or_default();
    out.open(
        "form",
        &[
            ("class", &"calculator"),
            ("data-costs", &costs),
            ("data-traffic", &traffic),
        ],
    );
    out.line_end();
    for (name, inputs) in INPUTS {
        draw_inputs(out, name, inputs);
    }
    out.raw("</form>\n");
    let load = Load::of(&MIX, prices, &TRAFFIC);
    draw_outcome(out, prices, &load);
    out.raw("</figure>\n");
}

fn draw_inputs(out: &mut Markup, name: &'static str, inputs: &[Input]) {
    out.raw("<fieldset>");
    out.element("legend", &[], name);
    for (label, id, value) in inputs {
        out.raw("<label>");
        out.element("span", &[], label);
        out.empty(
            "input",
            &[
                ("type", &"number"),
                ("min", &0),
                ("step", &"any"),
                ("inputmode", &"decimal"),
                ("name", id),
                ("value", value),
            ],
        );
        out.raw("</label>");
    }
    out.raw("</fieldset>\n");
}

/// What the page's script replaces as numbers change; complete without it.
fn draw_outcome(out: &mut Markup, prices: &Prices, load: &Load) {
    let shares = load.shares(&MACHINE, prices);
    let fits = shares.worst <= 1.0;
    let verdict = if fits { "Fits." } else { "Does not fit." };
    let class = if fits { "outcome fits" } else { "outcome full" };
    out.open(
        "div",
        &[
            ("class", &class),
            ("id", &"outcome"),
            ("aria-live", &"polite"),
        ],
    );
    out.open("p", &[]);
    out.element("b", &[("id", &"verdict")], verdict);
    out.raw(" ");
    let summary = format!(
        "{} people, {} packets/s, {}",
        format::count(load.participants),
        format::short(load.packets_per_s),
        format::bits_per_s(load.bits_per_s)
    );
    out.element("span", &[("id", &"summary")], summary);
    out.close("p");
    let meters = [
        (
            prices.has_shards,
            "forwarding, all shards",
            "shard",
            shares.shard,
        ),
        (!prices.has_shards, "CPU", "shard", shares.shard),
        (
            prices.is_room_on_one_shard,
            "biggest room, on its shard",
            "room",
            shares.room,
        ),
        (
            prices.has_shards,
            "control plane",
            "control",
            shares.control,
        ),
        (
            prices.bytes_per_subscriber > 0.0,
            "memory",
            "memory",
            shares.memory,
        ),
        (true, "network link", "link", shares.link),
    ];
    out.raw("<dl class=\"meters\">\n");
    for (_, label, id, share) in meters.into_iter().filter(|(is_known, ..)| *is_known) {
        let class = if share == shares.worst { "worst" } else { "" };
        out.open("div", &[("class", &class), ("data-share", &id)]);
        out.element("dt", &[], label);
        out.raw("<dd><span class=\"bar\">");
        let style = format!("width:{:.1}%", 100.0 * share.min(1.0));
        let class = if share > 1.0 { "fill over" } else { "fill" };
        out.element("span", &[("class", &class), ("style", &style)], "");
        out.raw("</span>");
        out.element("output", &[], format::percent(share));
        out.raw("</dd></div>\n");
    }
    out.raw("</dl>\n</div>\n");
}
