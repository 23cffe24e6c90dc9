//! Plays an hour of a session in twenty seconds: the library against the emulator over real TLS, both with a fast clock.
//!
//! In reading order: `story` (the incidents and their times), `stage` (runs them), `scene` (the state to show), `view`
//! (shows it in a terminal), `plain` (prints it to a pipe).

mod plain;
mod scene;
mod stage;
mod story;
mod view;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, value_parser};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};

use plain::Teller;
use scene::Scene;
use stage::Stage;
use story::{END, STEP};

/// Plays an hour of a session in twenty seconds: callers ask all the time, the service revokes a token, the network is down
/// for a while, the answer to a refresh is lost. The session is real, the service is the emulator.
#[derive(Parser)]
#[command(name = "paymentsgate-live", version)]
struct Arguments {
    /// Print lines instead of a picture. This is the default if the output is not a terminal.
    #[arg(long)]
    plain: bool,
    /// How long the hour takes; 0: only as long as the calls take.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(..=3600))]
    seconds: u64,
}

fn main() -> ExitCode {
    let Arguments { plain, seconds } = Arguments::parse();
    let is_plain = plain || !io::stdout().is_terminal();
    let pace = Duration::from_secs(seconds).mul_f64(STEP.as_secs_f64() / END.as_secs_f64());
    let played = if is_plain { tell(pace, &mut io::stdout().lock()) } else { show(pace) };
    match played {
        Ok(scene) if scene.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "paymentsgate-live: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints lines as things happen.
fn tell(pace: Duration, to: &mut impl Write) -> Result<Scene, Box<dyn Error>> {
    let mut stage = Stage::new()?;
    let mut teller = Teller::default();
    while !stage.scene.is_over() {
        let next = Instant::now() + pace;
        stage.step()?;
        teller.tell(&stage.scene, to)?;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    writeln!(to, "\n{}", stage.scene.summary())?;
    Ok(stage.scene)
}

/// Shows a picture in a terminal, and restores the terminal in any case.
fn show(pace: Duration) -> Result<Scene, Box<dyn Error>> {
    let mut stage = Stage::new()?;
    let mut terminal = ratatui::try_init()?;
    let shown = show_on(&mut terminal, &mut stage, pace);
    ratatui::try_restore()?;
    shown?;
    let _ = writeln!(io::stdout(), "{}", stage.scene.summary());
    Ok(stage.scene)
}

fn show_on(terminal: &mut DefaultTerminal, stage: &mut Stage, pace: Duration) -> Result<(), Box<dyn Error>> {
    while !stage.scene.is_over() {
        let next = Instant::now() + pace;
        stage.step()?;
        terminal.draw(|frame| view::draw(frame, &stage.scene))?;
        while event::poll(next.saturating_duration_since(Instant::now()))? {
            if is_quit(&event::read()?) {
                return Ok(());
            }
            terminal.draw(|frame| view::draw(frame, &stage.scene))?;
        }
    }
    Ok(())
}

fn is_quit(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, .. }) = event else { return false };
    let is_ctrl_c = *code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL);
    is_ctrl_c || matches!(code, KeyCode::Char('q') | KeyCode::Esc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_ends_without_outages() {
        let mut lines = Vec::new();
        let scene = tell(Duration::ZERO, &mut lines).unwrap();
        let text = String::from_utf8(lines).unwrap();
        assert!(scene.is_good(), "{text}");
        assert_eq!((scene.outages, scene.most_presentations), (0, 1), "{text}");
        // The generations: the first one, one after the revocation, and one after the lost answer, which costs an Issue.
        assert_eq!((scene.health.generation, scene.issues, scene.refreshes), (3, 2, 2), "{text}");
        assert!(scene.unreached > 0, "the network was down: {text}");
        for piece in
            ["revokes", "network is down", "is lost", "the answer to a refresh was lost", "0 outages"]
        {
            assert!(text.contains(piece), "{piece}?\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "colours in a pipe");
    }

    #[test]
    fn q_and_ctrl_c_quit() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(is_quit(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(is_quit(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!is_quit(&key(KeyCode::Char('c'), KeyModifiers::NONE)) && !is_quit(&Event::Resize(80, 24)));
    }
}
