//! What is asked for on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::server::SECRET;

/// Runs loads against LiveKit-compatible servers in turn, A B A B, each alone on its CPU.
#[derive(Parser, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Runs loads and prints the servers and their ratio
    ///
    /// A server is a command, started on the bench bed (needs root): two network namespaces and a veth
    /// pair that cuts trains, the server on CPU 0, the load on CPU 1. Or it is a server that runs
    /// already, given as URL#PID, with the API key `devkey` and the secret of `--secret`: there is no
    /// bed then, and the server is for the caller to pin.
    Run(Box<RunArguments>),
    /// Prints the goals beside what earlier runs measured
    Goals {
        #[arg(long, default_value = "target/compare")]
        output: PathBuf,
    },
    /// Prints a server's counters every few seconds, inside of a namespace
    #[command(hide = true)]
    Scrape { address: String },
}

#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// First server, as NAME=COMMAND or NAME=URL#PID
    #[arg(long, value_parser = server)]
    pub(crate) a: Server,
    /// Second server; without it there are no ratios
    #[arg(long, value_parser = server)]
    pub(crate) b: Option<Server>,
    /// Scenario of millrace-loadgen and its size, as livestream:100; meetings:4x10 are four of ten,
    /// livestreams:4x50 four with fifty viewers each; join:300 looks at joins alone. audio:80% is
    /// as many as keep the server's CPU busy so much, audio:max as many as it delivers within
    /// --share. May be given again
    #[arg(long, required = true, value_parser = load)]
    pub(crate) load: Vec<Load>,
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 7)]
    pub(crate) duration: u64,
    /// Share of a CPU that a server gets where it is to be saturated (cgroup, root)
    #[arg(long, default_value_t = 0.75)]
    pub(crate) share: f64,
    /// Measures the ceiling beside a saturated server, at its size and mean train
    #[arg(long)]
    pub(crate) ceiling: bool,
    #[arg(long, default_value = SECRET)]
    pub(crate) secret: String,
    /// Begins the names of the files
    #[arg(long, default_value = "")]
    pub(crate) tag: String,
    /// Where figures and the JSON of every run go
    #[arg(long, default_value = "target/compare")]
    pub(crate) output: PathBuf,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Command(Vec<String>),
    Running { url: String, pid: u32 },
}

fn server(text: &str) -> Result<Server, String> {
    let (name, origin) = text.split_once('=').ok_or("NAME=COMMAND or NAME=URL#PID")?;
    let origin = if origin.starts_with("ws://") || origin.starts_with("wss://") {
        let (url, pid) = origin.split_once('#').ok_or("a URL needs #PID behind it")?;
        let pid = pid.parse().map_err(|_| format!("{pid} is no process"))?;
        let url = url.to_owned();
        Origin::Running { url, pid }
    } else {
        Origin::Command(origin.split_whitespace().map(str::to_owned).collect())
    };
    let name = name.to_owned();
    Ok(Server { name, origin })
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Load {
    pub(crate) scenario: String,
    pub(crate) size: Size,
    /// Of each meeting, or viewers of each livestream.
    pub(crate) people: u32,
    pub(crate) text: String,
}

#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) enum Size {
    Fixed(u32),
    /// As much as keeps so much of the server's CPU busy.
    Busy(f64),
    /// As much as the server can bear.
    Most,
}

fn load(text: &str) -> Result<Load, String> {
    let (scenario, rest) = text.split_once(':').ok_or("SCENARIO:SIZE")?;
    let wrong = |part: &str| format!("{part} is no size");
    let (size, people) = match rest.split_once('x').filter(|_| is_of_rooms(scenario)) {
        Some((size, people)) => (size, people.parse().map_err(|_| wrong(people))?),
        None => (rest, 10),
    };
    let size = if size == "max" {
        Size::Most
    } else if let Some(percent) = size.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| wrong(size))?;
        Size::Busy(percent / 100.0)
    } else {
        Size::Fixed(size.parse().map_err(|_| wrong(size))?)
    };
    Ok(Load {
        scenario: scenario.to_owned(),
        size,
        people,
        text: text.to_owned(),
    })
}

/// Its size is a number of rooms.
fn is_of_rooms(scenario: &str) -> bool {
    matches!(scenario, "meetings" | "livestreams")
}

impl Load {
    /// About how many join, where the size is this.
    pub(crate) fn joins(&self, size: u32) -> u32 {
        match self.scenario.as_str() {
            "meetings" => size * self.people,
            "livestreams" => size * (self.people + 1),
            _ => size + 10,
        }
    }

    /// Nothing is forwarded; joins, memory and the rest are looked at.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.scenario.as_str(), "idle" | "join")
    }

    /// As part of a file's name.
    pub(crate) fn file_name(&self) -> String {
        self.text.replace([':', '%'], "-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn sizes() {
        let size = |text| load(text).unwrap().size;
        assert_eq!(size("livestream:100"), Size::Fixed(100));
        assert_eq!(size("audio:80%"), Size::Busy(0.8));
        assert_eq!(size("audio:max"), Size::Most);
        let meetings = load("meetings:50%x8").unwrap();
        assert_eq!((meetings.size, meetings.people), (Size::Busy(0.5), 8));
        assert_eq!(meetings.joins(3), 24);
        assert_eq!(load("livestreams:4x50").unwrap().joins(4), 204);
        assert!(load("audio").is_err() && load("audio:many").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
