//! `cordon drill`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Parser;
use cordon_drill::{Options, Outcome, Progress, Scenario, Style, table};

/// Which drill, and where its results go.
#[derive(Parser)]
pub(crate) struct Args {
    /// Name of a drill, `all`, or `list`.
    name: String,
    /// End with one line of JSON per drill instead of the table.
    #[arg(long)]
    json: bool,
    /// Folder for incident reports and records.
    #[arg(long, value_name = "FOLDER", default_value = "drills")]
    out: PathBuf,
    /// Cordon's sources; found from the current folder upwards unless given.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// The anvil program; an installed Foundry's, or that of scripts/setup, unless given.
    #[arg(long, value_name = "FILE")]
    anvil: Option<PathBuf>,
}

pub(crate) async fn run(args: &Args) -> eyre::Result<()> {
    if args.name == "list" {
        for scenario in Scenario::ALL {
            let bytecode = if scenario.real_bytecode() {
                "real bytecode"
            } else {
                "our contracts"
            };
            println!("{scenario} ({bytecode})");
        }
        return Ok(());
    }
    let options = Options {
        out: Some(args.out.clone()),
        root: args.root.clone(),
        anvil: args.anvil.clone(),
    };
    let steps = Steps::new();
    let result = match args.name.as_str() {
        "all" => cordon_drill::demo(&options, &steps).await,
        name => cordon_drill::run(name, &options, &steps)
            .await
            .map(|outcome| vec![outcome]),
    };
    steps.finish();
    let outcomes = result?;
    print(&outcomes, args.json)?;
    let broken: Vec<String> = outcomes.iter().flat_map(Outcome::broken_promises).collect();
    eyre::ensure!(
        broken.is_empty(),
        "the drill did not hold what it promises: {}",
        broken.join("; ")
    );
    Ok(())
}

fn print(outcomes: &[Outcome], json: bool) -> eyre::Result<()> {
    if json {
        for outcome in outcomes {
            println!("{}", serde_json::to_string(outcome)?);
        }
        return Ok(());
    }
    let style = if crate::style::Style::of_stdout().is_coloured() {
        Style::Colour
    } else {
        Style::Plain
    };
    print!("{}", table(outcomes, style));
    for report in outcomes.iter().flat_map(|outcome| &outcome.reports) {
        println!("report: {}", report.display());
    }
    Ok(())
}

/// Steps on standard error: one line that changes on a terminal, one line each elsewhere.
struct Steps {
    terminal: bool,
}

impl Steps {
    fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn finish(&self) {
        if self.terminal {
            self.write("\r\x1b[2K");
        }
    }

    fn write(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // A step that cannot be shown is no reason to stop.
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

impl Progress for Steps {
    fn step(&self, text: &str) {
        if self.terminal {
            self.write(&format!("\r\x1b[2K{text}"));
        } else {
            self.write(&format!("{text}\n"));
        }
    }
}
