//! Shows the scene in a terminal.

use std::time::Duration;

use paymentsgate_auth::{Lifetime, Phase, Windows};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use crate::plain::clock;
use crate::scene::{Kind, Scene};
use crate::story::END;

pub(crate) fn draw(frame: &mut Frame, scene: &Scene) {
    let parts = [
        Constraint::Length(1),
        Constraint::Length(4),
        Constraint::Length(5),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [title, life, numbers, lines, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(heading(scene), title);
    frame.render_widget(token_of(scene, life), life);
    frame.render_widget(numbers_of(scene), numbers);
    frame.render_widget(lines_of(scene, lines), lines);
    frame.render_widget(Line::from("q quits").dim(), foot);
}

fn heading(scene: &Scene) -> Line<'static> {
    let network = if scene.is_network_up {
        " network up ".black().on_green()
    } else {
        " network down ".white().on_red()
    };
    Line::from(vec![
        "paymentsgate-auth  ".bold(),
        format!("{} of {}  ", clock(scene.now), clock(END)).into(),
        network,
        if scene.health.refreshing { "  a call to the service is in progress".yellow() } else { "".into() },
    ])
}

/// The token's lifetime from left to right: each phase in its colour, the elapsed part as dots.
fn token_of(scene: &Scene, area: Rect) -> Paragraph<'static> {
    let health = &scene.health;
    let left = Duration::from_secs(health.seconds_left);
    let width = usize::from(area.width.saturating_sub(2));
    let windows = Windows::of(&Lifetime::of(scene.lifetime));
    let cell = |column: usize| {
        let remaining = scene.lifetime.mul_f64(1.0 - column as f64 / width.max(1) as f64);
        let sign = if remaining > left { "·" } else { "█" };
        Span::styled(sign, style_of(windows.phase(remaining)))
    };
    let says = vec![
        Span::styled(health.phase.name(), style_of(health.phase).bold()),
        format!(", {} left, generation {}", clock(left), health.generation).into(),
        health.fingerprint.as_ref().map_or(String::new(), |name| format!(", token {name}")).dim(),
    ];
    let bar = Line::from((0..width).map(cell).collect::<Vec<_>>());
    Paragraph::new(vec![bar, Line::from(says)]).block(Block::bordered().title(" token "))
}

fn numbers_of(scene: &Scene) -> Paragraph<'static> {
    let outages = Style::new().fg(if scene.outages == 0 { Color::Green } else { Color::Red }).bold();
    let obstacle = scene.health.obstacle.as_deref().unwrap_or("none");
    let rows = vec![
        Line::from(vec![
            format!("{} tokens returned, ", scene.tokens).into(),
            Span::styled(format!("{} outages", scene.outages), outages),
            format!("; {} requests answered, {} not answered", scene.answered, scene.unreached).into(),
        ]),
        Line::from(format!(
            "the service got {} issue and {} refresh calls; no refresh token more than {} time",
            scene.issues, scene.refreshes, scene.most_presentations
        )),
        Line::from(format!("obstacle: {obstacle}")).dim(),
    ];
    Paragraph::new(rows).block(Block::bordered().title(" callers and calls "))
}

/// The last lines.
fn lines_of(scene: &Scene, area: Rect) -> Paragraph<'static> {
    let room = usize::from(area.height.saturating_sub(2));
    let last = &scene.lines[scene.lines.len().saturating_sub(room)..];
    let shown = last.iter().map(|line| {
        let style = match line.kind {
            Kind::Story => Style::new().fg(Color::Magenta).bold(),
            Kind::Warning => Style::new().fg(Color::Yellow),
            Kind::Log => Style::new(),
        };
        Line::from(vec![format!("{} ", clock(line.at)).dim(), Span::styled(line.text.clone(), style)])
    });
    Paragraph::new(shown.collect::<Vec<_>>()).block(Block::bordered().title(" events "))
}

fn style_of(phase: Phase) -> Style {
    Style::new().fg(match phase {
        Phase::Fresh => Color::Green,
        Phase::Advisory => Color::Blue,
        Phase::Mandatory => Color::Yellow,
        Phase::Expired => Color::Red,
    })
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn drawn(scene: &Scene, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, scene)).unwrap();
        let cells = terminal.backend().buffer().content().chunks(usize::from(width));
        let rows = cells.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
        rows.map(|row| row.trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn a_whole_picture() {
        let picture = "\
paymentsgate-auth  56:15 of 62:00   network up   a call to the service is in progress
┌ token ───────────────────────────────────────────────────────────────────────────────┐
│······································································████████████████│
│advisory, 11:45 left, generation 2, token 00112233445566aa                            │
└──────────────────────────────────────────────────────────────────────────────────────┘
┌ callers and calls ───────────────────────────────────────────────────────────────────┐
│675 tokens returned, 0 outages; 615 requests answered, 60 not answered                │
│the service got 1 issue and 1 refresh calls; no refresh token more than 1 time        │
│obstacle: none                                                                        │
└──────────────────────────────────────────────────────────────────────────────────────┘
┌ events ──────────────────────────────────────────────────────────────────────────────┐
│08:00 the service revokes the token                                                   │
│08:00 the service refused the token                                                   │
│09:00 token of generation 2                                                           │
│                                                                                      │
└──────────────────────────────────────────────────────────────────────────────────────┘
q quits
";
        assert_eq!(drawn(&Scene::example(), 88, 17), picture);
    }

    #[test]
    fn the_last_lines_are_shown() {
        let mut scene = Scene::example();
        let line = scene.lines[0].clone();
        scene.lines.extend(
            (0..50).map(|number| crate::scene::Line { text: format!("line {number}."), ..line.clone() }),
        );
        let picture = drawn(&scene, 80, 24);
        assert!(picture.contains("line 49.") && !picture.contains("line 0."), "{picture}");
    }

    #[test]
    fn the_smallest_terminal_works() {
        for (width, height) in [(1, 1), (3, 2), (20, 5), (40, 10), (200, 60)] {
            drawn(&Scene { lifetime: Duration::ZERO, ..Scene::example() }, width, height);
        }
    }
}
