//! One run of the generator against one server.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use millrace_bench::bed::{Bed, CLIENTS};
use millrace_loadgen::report::model::{Results, Step};

use crate::args::{Load, RunArguments, Server};
use crate::server::{KEY, LOAD_CPU, Ready, Running};
use crate::watch::{Look, Seen, Watch};

/// The generator waits so long between the last join and measuring.
pub(crate) const SETTLE_S: f64 = 2.0;
/// After everybody has left, before memory is looked at again: an empty room closes after 20 s, and an
/// allocator gives back what was free for ten.
const AFTERWARDS: Duration = Duration::from_secs(35);
const POLL: Duration = Duration::from_millis(50);

/// One load for one server.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) server: &'a Server,
    pub(crate) load: &'a Load,
    pub(crate) size: u32,
    pub(crate) duration_s: u64,
    /// Share of a CPU that the server gets once everybody has joined.
    pub(crate) share: Option<f64>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) results: Results,
    pub(crate) seen: Seen,
    pub(crate) before: Look,
    /// Of silent loads.
    pub(crate) afterwards: Option<Look>,
}

impl Outcome {
    pub(crate) fn step(&self) -> Result<&Step, String> {
        let last = self.results.steps.last();
        last.ok_or_else(|| "a run without a step".to_owned())
    }

    pub(crate) fn cpu_s(&self) -> f64 {
        let usage = self.results.steps.last().and_then(|it| it.usage.as_ref());
        usage.map_or(0.0, |it| it.cpu_user_s + it.cpu_system_s)
    }
}

impl Trial<'_> {
    /// Starts the server, loads it, and ends it.
    pub(crate) fn run(&self, arguments: &RunArguments, page: &Path) -> Result<Outcome, String> {
        let mut ready = Ready::start(self.server)?;
        let before = Look::at(ready.pid, Duration::ZERO).ok_or("the server cannot be watched")?;
        let mut command = self.generator(arguments, &ready, page)?;
        let _ = fs::remove_file(page.with_extension("json"));
        let watch = Watch::begin(&ready);
        let mut child = command
            .spawn()
            .map(Running)
            .map_err(|error| format!("millrace-loadgen does not start: {error}"))?;
        let mut share = self.share;
        let joined =
            Duration::from_secs_f64(f64::from(self.load.joins(self.size)) / self.joins_per_s())
                + Duration::from_secs(1);
        // It ends with a failure where the service level breaks, which is a result.
        while child.0.try_wait().map_err(|it| it.to_string())?.is_none() {
            if watch.elapsed() > joined
                && let Some(share) = share.take()
            {
                ready.limit(share)?;
            }
            std::thread::sleep(POLL);
        }
        let afterwards = self.load.is_silent().then(|| {
            std::thread::sleep(AFTERWARDS);
            Look::at(ready.pid, watch.elapsed())
        });
        let seen = watch.end();
        let results = Results::read(&page.with_extension("json"))
            .map_err(|error| format!("{} on {}: {error}", self.load.text, self.server.name))?;
        Ok(Outcome {
            results,
            seen,
            before,
            afterwards: afterwards.flatten(),
        })
    }

    /// As fast as either server bears: a join costs livekit-server 15 ms.
    fn joins_per_s(&self) -> f64 {
        50.0
    }

    fn generator(
        &self,
        arguments: &RunArguments,
        ready: &Ready,
        page: &Path,
    ) -> Result<Command, String> {
        let generator = std::env::current_exe()
            .map_err(|error| error.to_string())?
            .with_file_name("millrace-loadgen");
        let generator = generator.to_str().ok_or("a path that is no text")?;
        let mut command = match &ready.bed {
            Some(bed) => Bed::command(&bed.client_namespace, LOAD_CPU, generator),
            None => Command::new(generator),
        };
        let scenario = match self.load.scenario.as_str() {
            "meetings" | "livestreams" => rooms(&arguments.output, self.load)?,
            "join" => "idle".to_owned(),
            name => name.to_owned(),
        };
        command
            .args(["run", &scenario, "--size", &self.size.to_string()])
            .args(["--url", &ready.url, "--api-key", KEY])
            .args(["--api-secret", &arguments.secret])
            .args(["--duration", &self.duration_s.to_string()])
            .args(["--joins-per-second", &self.joins_per_s().to_string()])
            .args(["--pid", &ready.pid.to_string()])
            .args(["--cpu", &LOAD_CPU.to_string(), "--report"])
            .arg(page)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if ready.bed.is_some() {
            command.args(["--source", &format!("{CLIENTS}/16")]);
        }
        if self.share.is_some() {
            // So that the generator has time for more of them.
            command.args(["--sampled", "20"]);
        }
        Ok(command)
    }
}

/// The scenario `meeting` or `livestream` with a room for each unit of the load.
fn rooms(folder: &Path, load: &Load) -> Result<String, String> {
    let Load {
        scenario, people, ..
    } = load;
    let path = folder.join(format!("{scenario}-of-{people}.toml"));
    let roles = match scenario.as_str() {
        "livestreams" => format!(
            "[[group.role]]\nname = \"host\"\ncount = 1\ntracks = [\"camera-single-h264\"]\n\
             subscribe = false\n\n\
             [[group.role]]\nname = \"viewer\"\ncount = {people}\n"
        ),
        _ => format!(
            "[[group.role]]\nname = \"participant\"\ncount = {people}\n\
             tracks = [\"speech\", \"camera\"]\nlayout = \"speaker\"\n"
        ),
    };
    let text = format!(
        "name = \"{scenario}\"\n\
         description = \"Many {scenario} of {people}.\"\n\
         noun = \"{scenario}\"\n\n\
         [[group]]\nname = \"{scenario}\"\nrooms_per_unit = 1.0\n\n{roles}"
    );
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path.display().to_string())
}
