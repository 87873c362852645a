//! What keys do to `top`: in which order nodes stand, which one is marked, and whether its details are shown.

use std::{cmp::Reverse, time::Duration};

use super::{Earlier, Past};
use crate::{
    command::assess::{Node, role},
    keys::Key,
    report::Table,
    text,
};

/// See the module.
#[derive(Default)]
pub(super) struct Board {
    order: Order,
    paused: bool,
    /// The node under the mark, by its name, for its place changes.
    marked: Option<String>,
    /// Whether it is shown alone.
    alone: bool,
    /// The names that stand on the screen, from the top.
    shown: Vec<String>,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To see what the key has changed.
    Draw,
    /// A new view, at once.
    Look,
    /// The end.
    Leave,
    /// The end, by Ctrl-C.
    Interrupt,
    /// Nothing.
    Nothing,
}

/// By what nodes are sorted; the highest first, and those that do not answer last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Node,
    Entries,
    Lag,
    Trip,
    Disk,
}

impl Order {
    fn next(self) -> Self {
        match self {
            Self::Node => Self::Entries,
            Self::Entries => Self::Lag,
            Self::Lag => Self::Trip,
            Self::Trip => Self::Disk,
            Self::Disk => Self::Node,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Entries => "entries/s",
            Self::Lag => "lag",
            Self::Trip => "rtt",
            Self::Disk => "disk",
        }
    }
}

impl Board {
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn press(&mut self, key: Key) -> Wish {
        match key {
            Key::Interrupt => return Wish::Interrupt,
            Key::Char('q') => return Wish::Leave,
            Key::Char('s') => self.order = self.order.next(),
            Key::Char('p') => {
                self.paused = !self.paused;
                return if self.paused { Wish::Draw } else { Wish::Look };
            }
            Key::Up => self.step(|at| at.checked_sub(1)),
            Key::Down => self.step(|at| at.checked_add(1)),
            Key::Enter => {
                self.step(Some);
                self.alone = !self.alone && self.marked.is_some();
            }
            Key::Escape => self.alone = false,
            Key::Char(_) => return Wish::Nothing,
        }
        Wish::Draw
    }

    /// Marks the node so far from the marked one; the first where none is, and none beyond the ends.
    fn step(&mut self, way: impl Fn(usize) -> Option<usize>) {
        let at = self.shown.iter().position(|name| self.marked.as_ref() == Some(name));
        let to = at.map_or(Some(0), way).and_then(|to| self.shown.get(to));
        if let Some(name) = to {
            self.marked = Some(name.clone());
        }
    }

    /// The nodes in the order that is wanted.
    pub(super) fn sort(&mut self, nodes: &mut [Node<'_>], past: &Past) {
        let rate = |node: &Node<'_>| past.of(node).and_then(|earlier| earlier.rate).unwrap_or(-1.0);
        let disk = |node: &Node<'_>| node.status.as_ref().map_or(0, |status| status.disk_bytes);
        let trip = |node: &Node<'_>| node.status.as_ref().map_or(Duration::ZERO, |_| node.rtt);
        match self.order {
            Order::Node => {}
            Order::Entries => nodes.sort_by(|a, b| rate(b).total_cmp(&rate(a))),
            Order::Lag => nodes.sort_by_key(|node| Reverse(node.lag)),
            Order::Trip => nodes.sort_by_key(|node| Reverse(trip(node))),
            Order::Disk => nodes.sort_by_key(|node| Reverse(disk(node))),
        }
        self.shown = nodes.iter().map(|node| node.name.to_owned()).collect();
    }

    pub(super) fn is_marked(&self, node: &Node<'_>) -> bool {
        self.marked.as_deref() == Some(node.name)
    }

    /// Whether this node is all that is shown.
    pub(super) fn is_alone(&self, node: &Node<'_>) -> bool {
        self.alone && self.is_marked(node)
    }

    /// What the keys do, and how it stands.
    pub(super) fn footer(&self) -> String {
        let pause = if self.paused { "[p] go on, PAUSED" } else { "[p]ause" };
        let node = if self.alone { "[enter] all nodes" } else { "[up down enter] a node" };
        format!("[s]ort: {}   {pause}   {node}   [q]uit", self.order.word())
    }
}

/// All that is known of one node.
pub(super) fn details(node: &Node<'_>, earlier: Option<&Earlier>) -> Table {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("node", node.name.to_owned());
    row("address", node.address.to_owned());
    row("state", node.state.to_owned());
    match node.status {
        Err(error) => row("error", error.to_string()),
        Ok(status) => {
            row("role", role(status.role).to_owned());
            row("term", status.term.to_string());
            row("applied", format!("{} of {} committed", status.applied, status.committed));
            row("last", status.last.to_string());
            row("lag", node.lag.unwrap_or(0).to_string());
            let rate = earlier.and_then(|earlier| earlier.rate);
            row("entries/s", rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}")));
            row("rtt", text::millis(node.rtt));
            if let Some(earlier) = earlier {
                row("slowest", format!("{} of {}", text::millis(earlier.slowest()), earlier.trips.len()));
            }
            row("disk", text::size(status.disk_bytes));
            row("certificate", format!("{} days", status.certificate_days));
            row("up", text::age(Duration::from_millis(status.uptime_ms)));
            row("version", status.version.clone());
            row("hash", format!("{:016x}", status.state_hash));
        }
    }
    Table { rows, ..Table::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(names: &[&str]) -> Board {
        Board { shown: names.iter().map(|name| (*name).to_owned()).collect(), ..Board::default() }
    }

    fn marked(board: &Board) -> &str {
        board.marked.as_deref().unwrap_or("-")
    }

    #[test]
    fn the_mark_moves_between_the_ends_and_stays_with_its_node() {
        let mut board = board(&["n1", "n2"]);
        assert_eq!(board.press(Key::Down), Wish::Draw);
        assert_eq!(marked(&board), "n1", "the first key finds the first node");
        for (key, want) in [(Key::Down, "n2"), (Key::Down, "n2"), (Key::Up, "n1"), (Key::Up, "n1")] {
            board.press(key);
            assert_eq!(marked(&board), want);
        }
        board.shown = vec!["n2".into(), "n1".into()];
        board.press(Key::Up);
        assert_eq!(marked(&board), "n2", "n1 is below it now");
    }

    #[test]
    fn a_node_is_opened_and_closed() {
        let mut board = board(&["n1"]);
        board.press(Key::Enter);
        assert!(board.alone && marked(&board) == "n1");
        board.press(Key::Enter);
        assert!(!board.alone);
        board.press(Key::Enter);
        board.press(Key::Escape);
        assert!(!board.alone);
        board.marked = None;
        board.shown.clear();
        board.press(Key::Enter);
        assert!(!board.alone, "there is nothing to open");
    }

    #[test]
    fn keys_say_what_they_want() {
        let mut board = board(&["n1"]);
        assert_eq!(board.press(Key::Char('q')), Wish::Leave);
        assert_eq!(board.press(Key::Interrupt), Wish::Interrupt);
        assert_eq!(board.press(Key::Char('x')), Wish::Nothing);
        assert_eq!((board.press(Key::Char('p')), board.is_paused()), (Wish::Draw, true));
        assert!(board.footer().contains("PAUSED"));
        assert_eq!((board.press(Key::Char('p')), board.is_paused()), (Wish::Look, false));
        for order in ["entries/s", "lag", "rtt", "disk", "node"] {
            assert_eq!(board.press(Key::Char('s')), Wish::Draw);
            assert!(board.footer().contains(&format!("[s]ort: {order} ")), "{}", board.footer());
        }
    }
}
