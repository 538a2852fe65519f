//! What all sections read: the results, and what follows from them.

use super::chart::{Mark, Point};
use super::format;
use crate::report::calculator::Prices;
use crate::report::knee::{Bound, Knee};
use crate::report::model::{Phase, Results, Step};
use crate::report::projection::Costs;

#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) results: &'a Results,
    pub(super) knee: Option<Knee>,
    pub(super) costs: Option<Costs>,
    /// Steps that say something about the server, by ascending load.
    pub(super) steps: Vec<&'a Step>,
}

impl<'a> View<'a> {
    pub(super) fn of(results: &'a Results) -> View<'a> {
        let knee = Knee::of(results);
        let costs = knee.as_ref().and_then(|knee| Costs::of(results, knee));
        let mut steps: Vec<&Step> = results
            .steps
            .iter()
            .filter(|step| step.is_conclusive())
            .collect();
        steps.sort_by_key(|step| step.load());
        View {
            results,
            knee,
            costs,
            steps,
        }
    }

    pub(super) fn prices(&self) -> Option<Prices> {
        self.costs.as_ref().map(Prices::of)
    }

    /// Whether several loads were held, so that there is something to draw over them.
    pub(super) fn is_rising(&self) -> bool {
        let load = |step: &&&Step| step.load();
        self.steps.first().as_ref().map(load) != self.steps.last().as_ref().map(load)
    }

    /// What the load is counted in.
    pub(super) fn noun(&self) -> &str {
        match self.results.scenario.subscribers_noun.as_str() {
            "" => "subscribers",
            noun => noun,
        }
    }

    /// A load with what it counts: "1 viewer", "20 viewers".
    pub(super) fn load(&self, load: f64) -> String {
        let number = format::count(load);
        if number == "1" {
            // The nouns are English plurals, "joins per second" among them.
            let (first, rest) = self.noun().split_once(' ').unwrap_or((self.noun(), ""));
            let one = first.strip_suffix('s').unwrap_or(first);
            format!("1 {one} {rest}").trim_end().to_string()
        } else {
            format!("{number} {}", self.noun())
        }
    }

    pub(super) fn load_max(&self) -> f64 {
        let most = self.steps.iter().map(|step| step.load()).max();
        f64::from(most.unwrap_or(0))
    }

    /// The knee as a mark of a chart over the load.
    pub(super) fn mark(&self) -> Option<Mark> {
        let knee = self
            .knee
            .as_ref()
            .filter(|knee| knee.bound == Bound::Between)?;
        Some(Mark {
            x: knee.load,
            text: format!("knee {}", format::count(rounded_down(knee.load))),
        })
    }

    /// A point for each step that has the value, over its load.
    pub(super) fn points(
        &self,
        name: &str,
        label: fn(f64) -> String,
        value: impl Fn(&Step) -> Option<f64>,
    ) -> Vec<Point> {
        self.steps
            .iter()
            .filter_map(|step| {
                let y = value(step)?;
                let x = f64::from(step.load());
                let tip = format!("{}: {name} {}", self.load(x), label(y));
                Some(Point { x, y, tip })
            })
            .collect()
    }

    /// The step that stands for an idle server.
    pub(super) fn idle(&self) -> Option<&'a Step> {
        let idle = self.steps.iter().find(|step| step.phase == Phase::Idle);
        idle.or(self.steps.first()).copied()
    }

    /// The step that held this share of the knee's load, or the one that came closest to it.
    pub(super) fn at_share(&self, share: f64) -> Option<&'a Step> {
        let is_held = |step: &&&Step| {
            step.phase == Phase::Hold
                && step
                    .share_of_knee
                    .is_some_and(|held| (held - share).abs() < 0.01)
        };
        if let Some(held) = self.steps.iter().find(is_held) {
            return Some(held);
        }
        // A share of a bound that is not known would be a guess.
        let knee = self
            .knee
            .as_ref()
            .filter(|knee| knee.bound == Bound::Between)?;
        let wanted = share * knee.load;
        let far = |step: &&&Step| (f64::from(step.load()) - wanted).abs();
        let nearest = self.steps.iter().min_by(|a, b| far(a).total_cmp(&far(b)))?;
        (far(&nearest) <= 0.05 * wanted).then_some(*nearest)
    }

    /// The passing step with the highest load.
    pub(super) fn highest_held(&self) -> Option<&'a Step> {
        let held = |step: &&&Step| self.results.slo.is_met(step);
        self.steps.iter().rev().find(held).copied()
    }

    /// The server's name and version.
    pub(super) fn server(&self) -> String {
        let server = &self.results.server;
        let name = if server.name.is_empty() {
            "The server"
        } else {
            &server.name
        };
        format!("{name} {}", server.version).trim_end().to_string()
    }
}

/// Three digits, rounded down: an interpolated load is not known better, and must not be praised.
pub(super) fn rounded_down(value: f64) -> f64 {
    if value < 1_000.0 {
        return value.floor();
    }
    let unit = 10_f64.powf(value.log10().floor() - 2.0);
    (value / unit + 1e-9).floor() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_never_rounded_up() {
        let rounded: Vec<f64> = [0.9, 999.9, 1_000.0, 1_839.7, 98_765.0]
            .map(rounded_down)
            .to_vec();
        assert_eq!(rounded, [0.0, 999.0, 1_000.0, 1_830.0, 98_700.0]);
    }
}
