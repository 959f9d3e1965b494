//! The table of what the live services were recorded answering (`fixtures/recorded/facts.txt`), and how an
//! answer is held against it. Shared by the tests of the client and of the emulator.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const FACTS: &str = include_str!("../../fixtures/recorded/facts.txt");
const EXCEPTIONS: &str = include_str!("../../fixtures/recorded/exceptions.txt");

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fact {
    pub(crate) exchange: &'static str,
    pub(crate) place: &'static str,
    form: &'static str,
    number: &'static str,
}

/// An answer, and the headers of its request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<Value>,
    pub(crate) request: BTreeMap<String, String>,
}

/// The cells of each line.
fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('|').map(str::trim).collect())
}

pub(crate) fn facts() -> Vec<Fact> {
    let fact = |cells: Vec<&'static str>| match cells.as_slice() {
        [exchange, place, form, number] => Fact {
            exchange,
            place,
            form,
            number,
        },
        _ => panic!("four cells are wanted: {cells:?}"),
    };
    rows(FACTS).map(fact).collect()
}

/// What somebody need not agree with: exchange and place.
fn exceptions(who: &str) -> BTreeSet<(&'static str, &'static str)> {
    let of = |cells: Vec<&'static str>| match cells.as_slice() {
        [named, exchange, place, reason] => {
            assert!(!reason.is_empty(), "no reason: {exchange}, {place}");
            (*named == who).then_some((*exchange, *place))
        }
        _ => panic!("four cells are wanted: {cells:?}"),
    };
    rows(EXCEPTIONS).filter_map(of).collect()
}

/// What of the table does not hold, and which exceptions are needed no more.
pub(crate) fn judge(who: &str, answers: &BTreeMap<String, Answer>) -> Vec<String> {
    let mut unused = exceptions(who);
    let mut problems = Vec::new();
    for fact in facts() {
        let Some(answer) = answers.get(fact.exchange) else {
            problems.push(format!("{}: there is no such exchange", fact.exchange));
            continue;
        };
        let Err(found) = fact.holds(answer) else {
            continue;
        };
        if !unused.remove(&(fact.exchange, fact.place)) {
            let Fact {
                exchange,
                place,
                form,
                number,
            } = fact;
            problems.push(format!(
                "{exchange}, {place}: {form} (fact {number}), but {found}"
            ));
        }
    }
    problems.extend(
        unused
            .iter()
            .map(|(exchange, place)| format!("no exception: {exchange}, {place}")),
    );
    problems
}

impl Fact {
    /// Whether it holds for an answer; else what is there.
    pub(crate) fn holds(&self, answer: &Answer) -> Result<(), String> {
        let found = self.found(answer);
        let holds = match self.form {
            "absent" => found.is_none(),
            "empty" => found.is_none(),
            form => found.as_ref().is_some_and(|found| is(found, form, answer)),
        };
        if holds {
            Ok(())
        } else {
            Err(found.map_or_else(|| "it is absent".to_owned(), |found| found.to_string()))
        }
    }

    fn found(&self, answer: &Answer) -> Option<Value> {
        let text =
            |map: &BTreeMap<String, String>, name: &str| map.get(name).cloned().map(Value::from);
        match self.place.split_once(' ') {
            Some(("header", name)) => text(&answer.headers, name),
            Some(("request", name)) => text(&answer.request, name),
            _ if self.place == "status" => Some(answer.status.into()),
            _ if self.place == "body" => answer.body.clone(),
            _ => answer.body.as_ref()?.pointer(self.place).cloned(),
        }
    }
}

fn is(found: &Value, form: &str, answer: &Answer) -> bool {
    let text = found.as_str().unwrap_or_default();
    let at = |pointer: &str| answer.body.as_ref().and_then(|body| body.pointer(pointer));
    if let Some(pointer) = form.strip_prefix("same ") {
        return at(pointer) == Some(found);
    }
    if let Some(pointer) = form.strip_prefix("in quotes ") {
        return at(pointer)
            .and_then(Value::as_str)
            .is_some_and(|inner| text == format!("\"{inner}\""));
    }
    if let Some(names) = form.strip_prefix("order ") {
        let members = found
            .as_object()
            .map(|members| members.keys().map(String::as_str).collect());
        return members == Some(names.split(' ').collect::<Vec<_>>());
    }
    if let Some(start) = form.strip_prefix("text that begins with ") {
        return text.starts_with(start);
    }
    match form {
        "present" => true,
        "string" => !text.is_empty(),
        "string without CN=" => !text.is_empty() && !text.contains("CN="),
        "number" => found.is_number(),
        "object" => found.is_object(),
        "list" => found.is_array(),
        "word tag" => decoded(text).is_some_and(|word| is_word(&word)),
        "octets tag" => STANDARD.decode(text).is_ok_and(|octets| octets.len() == 8),
        "number tag" => decoded(text).is_some_and(|word| is_number(&word)),
        "as given" => !text.is_empty() && !text.contains('"'),
        "time" => is_time(text),
        "date" => is_date(text),
        "uuid" => groups(text, &[8, 4, 4, 4, 12]),
        "tracking" => is_tracking(text, true),
        "tracking without a gateway" => is_tracking(text, false),
        literal => serde_json::from_str(literal).is_ok_and(|wanted: Value| wanted == *found),
    }
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    let word = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    word.is_some_and(|word| groups(word, &[8, 4, 4, 4, 12]))
}

fn groups(text: &str, lengths: &[usize]) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts
        .iter()
        .map(|part| part.len())
        .eq(lengths.iter().copied())
        && parts
            .iter()
            .all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether a text has a digit wherever the pattern has a zero, and is the pattern elsewhere.
fn fits(text: &str, pattern: &str) -> bool {
    let alike = |(one, two): (char, char)| match two {
        '0' => one.is_ascii_digit(),
        'a' => one.is_ascii_alphabetic(),
        _ => one == two,
    };
    text.chars().count() == pattern.chars().count() && text.chars().zip(pattern.chars()).all(alike)
}

/// Up to seven decimals, and no zero at their end.
fn is_time(text: &str) -> bool {
    let Some(moment) = text.strip_suffix('Z') else {
        return false;
    };
    let (seconds, decimals) = moment.split_once('.').unwrap_or((moment, "1"));
    fits(seconds, "0000-00-00T00:00:00")
        && (1..=7).contains(&decimals.len())
        && is_number(decimals)
        && !decimals.ends_with('0')
}

fn is_date(text: &str) -> bool {
    fits(text, "aaa, 00 aaa 0000 00:00:00 GaT")
}

fn is_tracking(text: &str, has_gateway: bool) -> bool {
    let rest = text.strip_prefix("Tracking ID:");
    let Some((from, at)) = rest.and_then(|rest| rest.split_once("-TimeStamp:")) else {
        return false;
    };
    let (id, gateway) = from.split_once("-G:").unwrap_or((from, ""));
    groups(id, &[32]) && is_number(gateway) == has_gateway && fits(at, "00/00/0000 00:00:00")
}
