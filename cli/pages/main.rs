//! pages FOLDER: writes the manual pages and shell completions of the command line, and the manual page of the emulator,
//! generated from the definitions of their arguments.

#![expect(dead_code, reason = "only the definition of the arguments is used here")]

#[path = "../src/arguments.rs"]
mod arguments;
#[path = "../src/exit.rs"]
mod exit;
#[path = "../src/page.rs"]
mod page;
#[path = "../src/place.rs"]
mod place;
#[path = "../../sandbox/src/arguments.rs"]
mod sandbox;

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
    clap_mangen::generate_to(sandbox::Arguments::command(), &folder)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Arguments::command(), "paymentsgate-auth", &folder)?;
    }
    Ok(())
}
