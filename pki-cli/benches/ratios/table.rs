//! The table of ratios, with what each must be.

/// What a figure is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At least so much, and better so much.
    AtLeast(f64, f64),
    /// At most so much, and better so little.
    AtMost(f64, f64),
    /// Told for itself.
    None,
}

/// One line of the table.
pub(crate) struct Row<'a> {
    pub(crate) title: &'a str,
    pub(crate) ours: f64,
    pub(crate) other: Option<f64>,
    /// The ratio of processor time for the same work, turned as the other ratio is.
    pub(crate) processor: Option<f64>,
    /// Digits behind the point of the two figures.
    pub(crate) digits: usize,
    pub(crate) target: Target,
}

pub(crate) fn head(ours: &str, other: &str) {
    println!(
        "{:<50} {ours:>10} {other:>10} {:>8} {:>6} {:>7} {:>7}",
        "", "ratio", "cpu", "must", "goal"
    );
}

impl Row<'_> {
    pub(crate) fn print(&self) {
        let Self {
            title,
            ours,
            digits,
            ..
        } = self;
        let figure = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let ratio = self.other.map(|other| ours / other);
        let (must, goal, judged) = match self.target {
            Target::AtLeast(must, goal) => (
                format!("{must}"),
                format!("{goal}"),
                verdict(
                    ratio.unwrap_or(*ours),
                    |value| value >= must,
                    |value| value >= goal,
                ),
            ),
            Target::AtMost(must, goal) => (
                format!("<= {must}"),
                format!("<= {goal}"),
                verdict(
                    ratio.unwrap_or(*ours),
                    |value| value <= must,
                    |value| value <= goal,
                ),
            ),
            Target::None => (String::new(), String::new(), ""),
        };
        println!(
            "{title:<50} {ours:>10.digits$} {:>10} {:>8} {:>6} {must:>7} {goal:>7}  {judged}",
            figure(self.other, *digits),
            figure(
                ratio,
                if ratio.is_some_and(|ratio| ratio > 20.0) {
                    0
                } else {
                    2
                }
            ),
            figure(self.processor, 2),
        );
    }
}

fn verdict(value: f64, must: impl Fn(f64) -> bool, goal: impl Fn(f64) -> bool) -> &'static str {
    match (must(value), goal(value)) {
        (_, true) => "goal",
        (true, false) => "met",
        (false, false) => "MISSED",
    }
}

/// A line for what was not measured, and why.
pub(crate) fn skipped(title: &str, why: &str) {
    println!("{title:<50} skipped: {why}");
}
