//! `cordon import`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use cordon_client::import::{Imported, openzeppelin_monitor};

/// Whose configuration to make a cordon.toml of.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Networks, monitors and triggers of openzeppelin-monitor become [[watch]], [[notify]] and [[template]]; what has no
    /// counterpart is listed. Nothing that exists is overwritten.
    OpenzeppelinMonitor {
        /// The directory that holds networks/, monitors/ and triggers/.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where the files go: NETWORK/cordon.toml for each EVM network, and its secrets beside it.
        #[arg(long, value_name = "DIR", default_value = "cordon")]
        out: PathBuf,
    },
}

pub(crate) fn run(command: &Command) -> eyre::Result<()> {
    let Command::OpenzeppelinMonitor { directory, out } = command;
    for imported in openzeppelin_monitor(directory)? {
        let folder = out.join(&imported.network);
        write(&folder, &imported)?;
        println!("{}", folder.join("cordon.toml").display());
        for note in &imported.notes {
            println!("  - {note}");
        }
    }
    Ok(())
}

fn write(folder: &Path, imported: &Imported) -> eyre::Result<()> {
    std::fs::create_dir_all(folder)?;
    create(&folder.join("cordon.toml"), imported.toml.as_bytes(), false)?;
    for (path, secret) in &imported.secrets {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        create(&path, secret.expose().as_bytes(), true)?;
    }
    Ok(())
}

/// Writes a file that does not exist yet. A secret is its owner's from the first byte on.
fn create(path: &Path, content: &[u8], secret: bool) -> eyre::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options
        .open(path)
        .map_err(|error| eyre::eyre!("cannot write {}: {error}", path.display()))?;
    file.write_all(content)?;
    Ok(())
}
