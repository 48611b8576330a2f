//! The table for people, and the same as JSON for programs.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
    time::SystemTime,
};

use serde_json::json;

use crate::{
    Result,
    figure::{Figure, Figures, median},
    machine::Machine,
    measure::{Effort, Scenario},
    server::Kind,
};

/// A column: its head, and what stands in a server's row.
pub(crate) type Column<'a> = (&'a str, Box<dyn Fn(Kind) -> Option<f64> + 'a>);

/// Figures of which less is better, with their heads.
const COSTS: [(Figure, &str); 7] = [
    (Figure::FlatCpu, "µs/chunk, 1 event a write"),
    (Figure::BatchedCpu, "µs/chunk, 16 events a write"),
    (Figure::PacedCpu, "µs/chunk, 1,000 streams at 20 ms"),
    (Figure::UnaryCpu, "µs/unary call"),
    (Figure::FirstToken, "added µs to first token"),
    (Figure::IdleMemory, "KiB/idle stream"),
    (Figure::PacedMemory, "MiB RSS, 1,000 live streams"),
];

/// Prints all tables.
pub(crate) fn print(figures: &Figures, servers: &[Kind], effort: &Effort) -> Result<()> {
    let mut out = io::stdout().lock();
    let machine = Machine::this();
    writeln!(
        out,
        "{} cores of {}, Linux {}, {}; median of {} windows of {:?}\n",
        machine.cores, machine.cpu, machine.kernel, machine.rustc, effort.rounds, effort.window
    )?;
    let measured: Vec<Kind> = servers
        .iter()
        .copied()
        .filter(|&kind| kind != Kind::Direct)
        .collect();
    writeln!(
        out,
        "What the server costs; its process alone, user and system.\n"
    )?;
    table(&mut out, &measured, &costs(figures, None))?;
    if servers.contains(&Kind::Nginx) {
        writeln!(out, "\nThe same ÷ nginx.\n")?;
        table(&mut out, &measured, &costs(figures, Some(Kind::Nginx)))?;
    }
    writeln!(
        out,
        "\nWhat callers get, who share the machine with the server and the simulated vLLM.\n"
    )?;
    table(&mut out, servers, &rates(figures))?;
    Ok(())
}

/// Writes medians, samples and the machine as JSON.
pub(crate) fn save(figures: &Figures, effort: &Effort, path: &Path) -> Result<()> {
    let mut servers: BTreeMap<String, serde_json::Map<String, serde_json::Value>> = BTreeMap::new();
    for (kind, figure, samples) in figures.iter() {
        let name = serde_json::to_value(figure)?;
        servers.entry(kind.to_string()).or_default().insert(
            name.as_str().unwrap_or_default().to_owned(),
            json!({"median": median(samples), "samples": samples}),
        );
    }
    let report = json!({
        "time": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "machine": Machine::this(),
        "rounds": effort.rounds,
        "window_ms": effort.window.as_millis() as u64,
        "servers": servers,
    });
    fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    note(&format!("\nAll samples: {}", path.display()));
    Ok(())
}

/// A line for whoever waits.
pub(crate) fn progress(round: usize, scenario: Scenario, kind: Kind) {
    let line = format!("round {}: {scenario:?} of {kind}", round + 1);
    // Progress that cannot be shown is no fault.
    drop(writeln!(io::stderr(), "{line}"));
}

/// A remark beside the figures.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Why the benchmark failed.
pub(crate) fn complain(error: &dyn Error) {
    let mut text = format!("load: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    note(&text);
}

/// What the servers cost, or its ratio to what another costs.
fn costs(figures: &Figures, base: Option<Kind>) -> Vec<Column<'_>> {
    let column = |&(figure, head)| {
        let cell = move |kind| match base {
            Some(base) => figures.ratio(kind, base, figure),
            None => figures.median(kind, figure),
        };
        (head, Box::new(cell) as Box<dyn Fn(Kind) -> Option<f64>>)
    };
    COSTS.iter().map(column).collect()
}

/// What callers get.
fn rates(figures: &Figures) -> Vec<Column<'_>> {
    let median = |figure| {
        Box::new(move |kind| figures.median(kind, figure)) as Box<dyn Fn(Kind) -> Option<f64>>
    };
    let ratio = move |kind| figures.ratio(kind, Kind::Direct, Figure::FlatRate);
    vec![
        ("chunks/s, 1 event a write", median(Figure::FlatRate)),
        ("the same ÷ direct", Box::new(ratio)),
        ("chunks/s, 16 events a write", median(Figure::BatchedRate)),
        (
            "chunks/s, 1,000 streams at 20 ms",
            median(Figure::PacedRate),
        ),
        ("unary calls/s", median(Figure::UnaryRate)),
    ]
}

/// A table in Markdown, so that it can be pasted.
pub(crate) fn table(out: &mut impl Write, servers: &[Kind], columns: &[Column<'_>]) -> Result<()> {
    write!(out, "| {:<8} |", "server")?;
    for (head, _) in columns {
        write!(out, " {head} |")?;
    }
    write!(out, "\n|{:-<10}|", "")?;
    for (head, _) in columns {
        write!(out, "{:->width$}:|", "", width = head.chars().count() + 1)?;
    }
    writeln!(out)?;
    for &kind in servers {
        write!(out, "| {kind:<8} |")?;
        for (head, cell) in columns {
            let text = cell(kind).map_or_else(|| "–".to_owned(), number);
            write!(out, " {text:>width$} |", width = head.chars().count())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Three significant digits, or all before the point.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}
