//! pages FOLDER: the manual pages of the command line and what shells complete, from its own account of itself.

#![expect(dead_code, reason = "of what a command does nothing is needed here")]

#[path = "../src/arguments.rs"]
mod arguments;
#[path = "../src/exit.rs"]
mod exit;
#[path = "../src/page.rs"]
mod page;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use arguments::Arguments;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("pages: give a folder")?);
    fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(Arguments::command(), &folder)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Arguments::command(), "paymentsgate-auth", &folder)?;
    }
    Ok(())
}
