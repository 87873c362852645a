//! Which quorum is hard to unite: the one of a few servers of whom the one with the newest log is behind the others in
//! terms. It refuses them for their logs, they refuse it for its term, and only their answers can end that.

use super::Watch;

impl Watch {
    /// A quorum as small as can be, see the module; none when there is none among `sound`.
    pub fn discord(&self, sound: &[usize]) -> Option<Vec<usize>> {
        let newest = |me: usize| {
            let log = &self.servers[me].durable;
            (log.last().map_or(0, |place| place.term), log.len())
        };
        let term = |me: usize| self.servers[me].hard.term;
        sound.iter().find_map(|&first| {
            let others = sound.iter().copied();
            let ahead = others.filter(|at| term(*at) > term(first) && newest(*at) < newest(first));
            let core: Vec<usize> =
                [first].into_iter().chain(ahead).take(self.servers.len() / 2 + 1).collect();
            (core.len() > self.servers.len() / 2 && core.len() > 1).then_some(core)
        })
    }
}
