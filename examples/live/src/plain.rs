//! Prints the scene as lines, for a pipe.

use std::io::{self, Write};
use std::time::Duration;

use crate::scene::{Kind, Scene};

/// The interval between two lines that print the state.
const EVERY: Duration = Duration::from_secs(10 * 60);

/// Remembers what it has printed.
#[derive(Default)]
pub(crate) struct Teller {
    lines: usize,
    stood: Option<Duration>,
}

impl Teller {
    pub(crate) fn tell(&mut self, scene: &Scene, to: &mut impl Write) -> io::Result<()> {
        for line in &scene.lines[self.lines..] {
            let mark = if line.kind == Kind::Story { ">>" } else { "  " };
            writeln!(to, "{} {mark} {}", clock(line.at), line.text)?;
        }
        self.lines = scene.lines.len();
        if self.stood.is_none_or(|stood| scene.now >= stood + EVERY) {
            let Scene { tokens, outages, health, .. } = scene;
            let (phase, left) = (health.phase.name(), health.seconds_left / 60);
            writeln!(
                to,
                "{}    generation {}, {phase}, {left} min left; {tokens} tokens returned, {outages} outages",
                clock(scene.now),
                health.generation
            )?;
            self.stood = Some(scene.now);
        }
        to.flush()
    }
}

/// Minutes and seconds.
pub(crate) fn clock(at: Duration) -> String {
    format!("{:02}:{:02}", at.as_secs() / 60, at.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_printed_once() {
        let (mut teller, mut out, scene) = (Teller::default(), Vec::new(), Scene::example());
        teller.tell(&scene, &mut out).unwrap();
        teller.tell(&scene, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "08:00 >> the service revokes the token\n\
             08:00    the service refused the token\n\
             09:00    token of generation 2\n\
             56:15    generation 2, advisory, 11 min left; 675 tokens returned, 0 outages\n"
        );
    }
}
