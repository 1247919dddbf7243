//! Draws the state: a pure function of it and the time. What something means is said in words; colours only stress it.

use jiff::{SignedDuration, Timestamp};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, BorderType, Clear, Paragraph},
};

use super::{
    super::{
        output::{age, harmless, relative, span},
        status::{Ages, Counts},
    },
    state::{Panel, Refusals, Refused, Seen, State},
    text::{apart, gauge, inner, pace, widen, wrapped},
};
use crate::{
    status::{Phase, Posted, SyncStatus},
    tray::{Circuit, Standing},
};

/// Below this there is no room for it.
const SMALLEST: (u16, u16) = (60, 20);

/// Where there is no value.
const NONE: &str = "-";

/// How something stands.
#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Good,
    Bad,
    Faint,
}

pub(super) fn draw(state: &State, now: Timestamp, frame: &mut Frame<'_>) {
    View { state, now }.draw(frame);
}

struct View<'a> {
    state: &'a State,
    now: Timestamp,
}

impl View<'_> {
    fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            let text = format!("{} columns and {} lines are needed; q quits", SMALLEST.0, SMALLEST.1);
            return frame.render_widget(Paragraph::new(text), area);
        }
        let [title, first, second, lists, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(6),
            Constraint::Length(6),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        self.draw_title(frame, title);
        let [tray, sync] = Layout::horizontal([Constraint::Fill(1); 2]).areas(first);
        self.draw_facts(frame, tray, "Tray", &self.tray(tray.width));
        self.draw_facts(frame, sync, "Synchronisation", &self.sync(sync.width));
        let [held, ages, dropped] =
            Layout::horizontal([Constraint::Fill(2), Constraint::Fill(1), Constraint::Fill(1)]).areas(second);
        self.draw_facts(frame, held, "Authentications", &self.held(held.width));
        self.draw_facts(frame, ages, "Ages", &self.ages(ages.width));
        self.draw_facts(frame, dropped, "Drop directory", &self.dropped(dropped.width));
        let (problems, refusals) = (self.problems(lists.width), self.refusals(lists.width));
        // Each has half of the room, but for what the other leaves.
        let half = lists.height / 2;
        let wanted = |lines: usize| u16::try_from(lines.max(1)).unwrap_or(u16::MAX).saturating_add(2);
        let of_problems =
            wanted(problems.len()).clamp(3, half.max(lists.height.saturating_sub(wanted(refusals.len()))));
        let [above, below] = Layout::vertical([Constraint::Length(of_problems), Constraint::Fill(1)]).areas(lists);
        self.draw_list(frame, above, Panel::Problems, "Problems", &problems);
        self.draw_list(frame, below, Panel::Refusals, "Last refusals", &refusals);
        self.draw_keys(frame, keys);
        if self.state.shows_help {
            self.draw_help(frame, area);
        }
    }

    fn draw_title(&self, frame: &mut Frame<'_>, area: Rect) {
        let said = match &self.state.seen {
            None => " trayvault".to_owned(),
            Some(Seen { status, .. }) => {
                let up = span(self.now.duration_since(status.posted.started_at).abs());
                let vault = match (status.vault.as_str(), status.epoch) {
                    ("locked", _) => "vault LOCKED".to_owned(),
                    (vault, Some(epoch)) => format!("vault {vault}, epoch {epoch}"),
                    (vault, None) => format!("vault {vault}"),
                };
                let resealing = status.posted.resealing.map(|one| format!(", {} of {} re-sealed", one.done, one.total));
                let text =
                    format!(" trayvault {}   up {up}   {vault}{}", status.version, resealing.unwrap_or_default());
                harmless(&text)
            }
        };
        let seen = self.state.seen.as_ref().map(|seen| format!("as of {}", relative(Some(seen.at), self.now)));
        let right = match (&self.state.trouble, self.state.is_paused) {
            (_, true) => format!("PAUSED, {} ", seen.unwrap_or_default()),
            (Some(_), false) => format!("NO ANSWER, {} ", seen.unwrap_or_else(|| "none yet".to_owned())),
            (None, false) if self.state.seen.is_none() => "asking ".to_owned(),
            (None, false) => format!("{} UTC ", self.now.strftime("%H:%M:%S")),
        };
        let line = apart(&said, &right, area.width.into());
        frame.render_widget(Paragraph::new(line).style(Style::new().add_modifier(Modifier::REVERSED)), area);
    }

    fn draw_facts(&self, frame: &mut Frame<'_>, area: Rect, title: &str, facts: &[(String, Tone)]) {
        let block = Block::bordered().title(format!(" {title} "));
        let lines: Vec<_> = facts.iter().map(|(text, tone)| self.line(text, *tone)).collect();
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }

    fn tray(&self, width: u16) -> Vec<(String, Tone)> {
        let Some(seen) = &self.state.seen else { return nothing() };
        let Standing { offline, hosts, budget, requests, answers } = &seen.status.posted.tray;
        let silent = hosts.iter().find(|host| host.circuit != Circuit::Closed);
        let state = match (offline, silent) {
            (true, _) => ("offline: it is not asked".to_owned(), Tone::Bad),
            (false, Some(host)) => {
                let again = host.retry_in_seconds.map(|left| format!(", again in {left}s")).unwrap_or_default();
                (format!("NO ANSWER{again}: {}", harmless(&host.host)), Tone::Bad)
            }
            (false, None) => {
                let hosts: Vec<_> = hosts.iter().map(|host| harmless(&host.host)).collect();
                (format!("answers: {}", hosts.join(", ")), Tone::Good)
            }
        };
        let budget_line = if let Some(left) = budget.paused_for_seconds {
            (format!("budget   OVER THE LIMIT, paused for {left}s"), Tone::Bad)
        } else {
            let text = format!("{}/{}", budget.tokens, budget.capacity);
            (gauge("budget", &text, u64::from(budget.tokens), u64::from(budget.capacity), width), Tone::Plain)
        };
        let rate = seen.rate.map(|rate| format!("{rate:.1}/s")).unwrap_or_default();
        let sent = apart(
            &format!("requests {}", requests.total()),
            &format!("{rate}   {} waiting", budget.waiting),
            inner(width),
        );
        let failed = answers.unanswered + answers.failed;
        let failures =
            apart(&format!("failed   {failed}"), &format!("over the limit {}", budget.limit_errors), inner(width));
        vec![state, budget_line, (sent, Tone::Plain), (failures, Tone::Plain)]
    }

    fn sync(&self, width: u16) -> Vec<(String, Tone)> {
        let Some(seen) = &self.state.seen else { return nothing() };
        let SyncStatus { running, progress, last, next_at, pulls, .. } = &seen.status.posted.sync;
        let (state, how_far) = if let Some(progress) = progress {
            let what = match progress.phase {
                Phase::Listing => "listing",
                Phase::Pulling => "pulling",
            };
            let text = format!("{}/{}", progress.done, progress.total);
            let bar = gauge(what, &text, widen(progress.done), widen(progress.total), width);
            (apart("under way", &pace(progress, self.now), inner(width)), bar)
        } else {
            let state = if *running {
                "under way".to_owned()
            } else {
                let next = next_at.map_or_else(|| NONE.to_owned(), |at| relative(Some(at), self.now));
                format!("next one {next}")
            };
            (state, apart(&format!("pulled   {}", pulls.sealed), &format!("failed {}", pulls.failed), inner(width)))
        };
        let (last, came_to, tone) = last.as_ref().map_or_else(
            || ("no cycle has ended yet".to_owned(), String::new(), Tone::Plain),
            |last| {
                let took = span(last.ended_at.duration_since(last.started_at).abs());
                let came_to = [
                    (last.failed, "FAILED"),
                    (last.held_back, "HELD BACK"),
                    (last.listed, "listed"),
                    (last.pulled, "pulled"),
                    (last.gone, "gone"),
                ];
                let came_to = came_to.iter().filter(|(count, what)| *count > 0 || *what == "listed");
                let came_to: Vec<_> = came_to.map(|(count, what)| format!("{count} {what}")).collect();
                let tone = if last.failed + last.held_back > 0 { Tone::Bad } else { Tone::Plain };
                (format!("last one {}, took {took}", relative(Some(last.ended_at), self.now)), came_to.join(", "), tone)
            },
        );
        vec![(state, Tone::Plain), (how_far, Tone::Plain), (last, Tone::Plain), (came_to, tone)]
    }

    fn held(&self, width: u16) -> Vec<(String, Tone)> {
        let Some(seen) = &self.state.seen else { return nothing() };
        let Counts { full, pending, not_permitted, not_enabled, gone, damaged, refused, users } =
            &seen.status.authentications;
        let left_half = inner(width).saturating_sub(3) / 2;
        let right_half = inner(width).saturating_sub(3 + left_half);
        let row = |left: (&str, &u64), right: (&str, &u64)| {
            let one = |(name, count): (&str, &u64), width| apart(name, &count.to_string(), width);
            format!("{}   {}", one(left, left_half), one(right, right_half))
        };
        vec![
            (row(("full", full), ("not permitted", not_permitted)), Tone::Plain),
            (row(("pending", pending), ("not enabled", not_enabled)), Tone::Plain),
            (row(("gone", gone), ("refused", refused)), Tone::Plain),
            (row(("end users", users), ("damaged", damaged)), if *damaged > 0 { Tone::Bad } else { Tone::Plain }),
        ]
    }

    fn ages(&self, width: u16) -> Vec<(String, Tone)> {
        let Some(seen) = &self.state.seen else { return nothing() };
        let Ages { oldest_fetched_at, next_expiry_at, expired, expiring_within_hour, expiring_within_day } =
            &seen.status.ages;
        let row = |name: &str, value: &str| apart(name, value, inner(width));
        let next = next_expiry_at.map_or_else(|| NONE.to_owned(), |at| relative(Some(at), self.now));
        vec![
            (row("oldest", &age(*oldest_fetched_at, self.now)), Tone::Plain),
            (row("next expiry", &next), Tone::Plain),
            (row("in 1h/1d", &format!("{expiring_within_hour}/{expiring_within_day}")), Tone::Plain),
            (row("expired", &expired.to_string()), if *expired > 0 { Tone::Bad } else { Tone::Plain }),
        ]
    }

    fn dropped(&self, width: u16) -> Vec<(String, Tone)> {
        let Some(seen) = &self.state.seen else { return nothing() };
        let Posted { ingest, .. } = &seen.status.posted;
        let row = |name: &str, value: String| apart(name, &value, inner(width));
        let held = if ingest.held > 0 { ("HELD", Tone::Bad) } else { ("held", Tone::Plain) };
        vec![
            (row("pending", ingest.pending.to_string()), Tone::Plain),
            (row(held.0, ingest.held.to_string()), held.1),
            (row("accepted", ingest.accepted.to_string()), Tone::Plain),
            (row("rejected", ingest.rejected.to_string()), Tone::Plain),
        ]
    }

    fn problems(&self, width: u16) -> Vec<(String, Tone)> {
        let problems = self.state.problems();
        if problems.is_empty() {
            let text = if self.state.seen.is_some() { "none" } else { NONE };
            return vec![(text.to_owned(), Tone::Faint)];
        }
        let mut lines = Vec::new();
        for problem in problems {
            lines.extend(wrapped("! ", &harmless(&problem.what), inner(width)).map(|line| (line, Tone::Bad)));
            if let Some(hint) = &problem.hint {
                lines.extend(wrapped("  hint: ", &harmless(hint), inner(width)).map(|line| (line, Tone::Plain)));
            }
        }
        lines
    }

    fn refusals(&self, width: u16) -> Vec<(String, Tone)> {
        let text = match &self.state.refusals {
            Refusals::NotAsked => NONE,
            Refusals::Withheld => "not shown: they are for whoever is granted \"manage\" on everything",
            Refusals::Known(refusals) if refusals.is_empty() => "none since the start",
            Refusals::Known(refusals) => {
                return refusals.iter().map(|one| (self.refusal(one, inner(width)), Tone::Plain)).collect();
            }
        };
        vec![(text.to_owned(), Tone::Faint)]
    }

    fn refusal(&self, refused: &Refused, width: usize) -> String {
        let Refused { time, action, uid, unit, authentication, reason } = refused;
        let reason = reason.replace('_', " ");
        let ago = relative(Some(*time), self.now);
        let unit = unit.as_deref().unwrap_or(NONE);
        let mut text = format!("{ago:>8}  {action:<22}  uid {uid:<6}  {reason:<14}");
        // The id is for wide terminals.
        let rest = width.saturating_sub(text.chars().count() + 2);
        match authentication {
            Some(id) if rest >= 36 + 2 + 16 => text = format!("{text}  {id:<36}  {unit}"),
            _ => text = format!("{text}  {unit}"),
        }
        harmless(&text)
    }

    fn draw_list(&self, frame: &mut Frame<'_>, area: Rect, panel: Panel, title: &str, lines: &[(String, Tone)]) {
        let has_focus = self.state.panel == panel;
        let room = usize::from(area.height.saturating_sub(2));
        let first = self.state.scrolled[panel as usize].min(lines.len().saturating_sub(room));
        let shown: Vec<_> = lines.iter().skip(first).take(room).map(|(text, tone)| self.line(text, *tone)).collect();
        let hidden = if lines.len() > room {
            format!("lines {}-{} of {} ", first + 1, first + shown.len(), lines.len())
        } else {
            String::new()
        };
        let border = if has_focus { BorderType::Thick } else { BorderType::Plain };
        let block = Block::bordered().border_type(border).title(format!(" {title} {hidden}"));
        frame.render_widget(Paragraph::new(shown).block(block), area);
    }

    fn draw_keys(&self, frame: &mut Frame<'_>, area: Rect) {
        let pause = if self.state.is_paused { "p go on" } else { "p pause" };
        let keys = format!(" q quit  {pause}  s synchronise  Tab, arrows: scroll  ? help");
        let notice = self.state.notice(self.now).map(|notice| format!("{} ", harmless(notice))).unwrap_or_default();
        let has_room = keys.chars().count() + notice.chars().count() < area.width.into();
        // What just happened says more than the keys, which the help has too.
        let keys = if has_room { keys } else { " q quit  ? help".to_owned() };
        let line = apart(&keys, &notice, area.width.into());
        frame.render_widget(Paragraph::new(line), area);
    }

    fn draw_help(&self, frame: &mut Frame<'_>, area: Rect) {
        let every = span_of(self.state.interval);
        let lines = [
            "q, Esc, Ctrl-C   quit".to_owned(),
            "p, space         pause: the daemon is not asked".to_owned(),
            "s                synchronise now; takes the grant \"sync\"".to_owned(),
            "Tab              the other list, which has the thick border".to_owned(),
            "arrows, Page     scroll it; Home goes to its top".to_owned(),
            "?                close this".to_owned(),
            String::new(),
            format!("The daemon is asked every {every}. Ages are since the fetch"),
            "from Tray; \"in 1h/1d\" is how many secrets expire by then.".to_owned(),
        ];
        let (width, height) = (62, u16::try_from(lines.len()).unwrap_or_default() + 2);
        let at = Rect {
            x: area.width.saturating_sub(width) / 2,
            y: area.height.saturating_sub(height) / 2,
            width: width.min(area.width),
            height: height.min(area.height),
        };
        frame.render_widget(Clear, at);
        let block = Block::bordered().border_type(BorderType::Double).title(" Keys ");
        frame.render_widget(Paragraph::new(lines.map(Line::from).to_vec()).block(block), at);
    }

    fn line(&self, text: &str, tone: Tone) -> Line<'static> {
        let style = match tone {
            Tone::Good if self.state.colours => Style::new().fg(Color::Green),
            Tone::Bad if self.state.colours => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Plain | Tone::Good => Style::new(),
            Tone::Bad => Style::new().add_modifier(Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
        };
        Line::from(Span::styled(text.to_owned(), style))
    }
}

fn nothing() -> Vec<(String, Tone)> {
    vec![(NONE.to_owned(), Tone::Faint)]
}

/// An interval as it may be given.
fn span_of(interval: std::time::Duration) -> String {
    SignedDuration::try_from(interval).map_or_else(|_| NONE.to_owned(), |span| format!("{span:#}"))
}
