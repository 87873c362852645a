//! What a client knows of its cluster: the nodes, the links to them, the leader, the applied index for new request
//! ids. It learns from every welcome and every answer, and shares it between all calls.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use protocol::{ClusterId, RequestId, Welcome};
use tokio::time::{Instant, timeout_at};

use crate::{
    Settings,
    dial::{Dialer, bounded},
    error::{EndpointError, EndpointFailure},
    link::Link,
    race::{Contender, HEAD_START, race},
    retry::{Address, Target},
};

/// Most addresses that are remembered, configured or learned.
const ADDRESSES: usize = 64;

/// The cluster as this client sees it.
pub(crate) struct Nodes {
    dialer: Dialer,
    connect_timeout: Duration,
    connections: usize,
    learned: AtomicU64,
    turn: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    cluster: Option<ClusterId>,
    leader: Option<Address>,
    /// Whom to ask, in order: the configured endpoints, then members learned of.
    addresses: Vec<Address>,
    /// Under which address a node was reached, by its id: redirects use the advertised one.
    reached: HashMap<u64, Address>,
    slots: HashMap<(Address, usize), Arc<Slot>>,
}

/// A place for one link to one node.
#[derive(Default)]
struct Slot {
    link: Mutex<Option<Link>>,
    /// Held while dialling: many calls share one handshake.
    dialing: tokio::sync::Mutex<Option<(Instant, EndpointError)>>,
}

impl Nodes {
    /// Knows the endpoints of the settings.
    pub(crate) fn new(settings: Settings) -> Self {
        let mut known = Known::default();
        let dialer = Dialer::new(&settings);
        for endpoint in settings.endpoints {
            known.add(endpoint.into());
        }
        Self {
            dialer,
            connect_timeout: settings.connect_timeout,
            connections: settings.connections.max(1),
            learned: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            known: Mutex::new(known),
        }
    }

    /// A link to the target, or to another node where the target cannot be had; or why none can be had.
    pub(crate) async fn reach(
        &self,
        target: &Target,
        write: bool,
        until: Instant,
    ) -> Result<Link, Vec<EndpointFailure>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(link) = self.at_hand(target, write, turn) {
            return Ok(link);
        }
        let link = self.race(self.candidates(target, turn), turn, until).await?;
        match self.leader().filter(|leader| write && *target == Target::Preferred && leader != link.address())
        {
            // Spares the redirect: the welcome has just said who leads.
            Some(leader) => self.race(vec![leader, link.address().clone()], turn, until).await,
            None => Ok(link),
        }
    }

    /// One link to exactly this node.
    pub(crate) async fn link(&self, address: &Address, until: Instant) -> Result<Link, EndpointError> {
        self.link_at(address.clone(), 0, until).await
    }

    /// Every address known.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.known().addresses.clone()
    }

    /// A fresh request id, by what was learned so far: the link's welcome at least.
    pub(crate) fn fresh_request(&self, link: &Link) -> RequestId {
        RequestId::fresh(self.learned.load(Ordering::Relaxed), link.welcome().cluster)
    }

    /// An answer told an applied index.
    pub(crate) fn learn_index(&self, applied: u64) {
        self.learned.fetch_max(applied, Ordering::Relaxed);
    }

    /// This address leads, or was said to.
    pub(crate) fn learn_leader(&self, id: Option<u64>, address: &Address) {
        let mut known = self.known();
        let reached = id.and_then(|id| known.reached.get(&id)).unwrap_or(address).clone();
        if known.leader.as_ref() != Some(&reached) {
            known.add(reached.clone());
            known.leader = Some(reached);
        }
    }

    /// This address does not lead (any more).
    pub(crate) fn forget_leader(&self, address: &Address) {
        let mut known = self.known();
        if known.leader.as_ref() == Some(address) {
            known.leader = None;
        }
    }

    /// The address by which a redirect's node is reached.
    pub(crate) fn alias(&self, id: Option<u64>, address: &Address) -> Address {
        id.and_then(|id| self.known().reached.get(&id).cloned()).unwrap_or_else(|| address.clone())
    }

    /// Ends all links and closes the socket.
    pub(crate) fn close(&self) {
        let slots: Vec<_> = self.known().slots.drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            if let Some(link) = slot.current().take() {
                link.end(&EndpointError::Dropped { reason: "this client closed it".into() });
            }
        }
        self.dialer.close();
    }

    fn leader(&self) -> Option<Address> {
        self.known().leader.clone()
    }

    /// A good link that is open already, where the target allows to take one.
    fn at_hand(&self, target: &Target, write: bool, turn: usize) -> Option<Link> {
        let known = self.known();
        let lane = turn % self.connections;
        match target {
            Target::NotAt(_) => None,
            Target::Leader { id, address } => {
                let reached = id.and_then(|id| known.reached.get(&id)).unwrap_or(address);
                known.good(reached, lane)
            }
            Target::Preferred => match &known.leader {
                Some(leader) if write || known.good(leader, 0).is_some() => known.good(leader, lane),
                _ => known.addresses.iter().find_map(|address| known.good(address, 0)),
            },
        }
    }

    /// All addresses, the target's first; behind a node that let the call down the others take turns.
    fn candidates(&self, target: &Target, turn: usize) -> Vec<Address> {
        let known = self.known();
        let mut all = known.addresses.clone();
        let first = match target {
            Target::Preferred => known.leader.clone(),
            Target::Leader { id, address } => {
                Some(id.and_then(|id| known.reached.get(&id)).unwrap_or(address).clone())
            }
            Target::NotAt(address) => {
                all.retain(|other| other != address);
                let rotation = turn % all.len().max(1);
                all.rotate_left(rotation);
                all.push(address.clone());
                None
            }
        };
        if let Some(first) = first {
            all.retain(|other| *other != first);
            all.insert(0, first);
        }
        all
    }

    async fn race(
        &self,
        who: Vec<Address>,
        turn: usize,
        until: Instant,
    ) -> Result<Link, Vec<EndpointFailure>> {
        let leader = self.leader();
        let dials = who.into_iter().map(|address| {
            let lane = if leader.as_ref() == Some(&address) { turn % self.connections } else { 0 };
            let dial = async move {
                let named = address.to_string();
                let link = self.link_at(address, lane, until).await;
                link.map_err(|error| EndpointFailure { address: named, error })
            };
            Box::pin(dial) as Contender<'_, Link, EndpointFailure>
        });
        race(dials.collect(), HEAD_START).await
    }

    async fn link_at(&self, address: Address, lane: usize, until: Instant) -> Result<Link, EndpointError> {
        let slot = self.known().slot(&address, lane);
        if let Some(link) = slot.good() {
            return Ok(link);
        }
        let began = Instant::now();
        let dial = async {
            let mut last = slot.dialing.lock().await;
            if let Some(link) = slot.good() {
                return Ok(link);
            }
            // Whoever dialled while this call waited has the answer for it as well.
            if let Some((_, error)) = last.as_ref().filter(|(when, _)| *when >= began) {
                return Err(error.clone());
            }
            let dialled = self.dialer.dial(&address).await.and_then(|link| self.welcomed(link));
            *last = dialled.as_ref().err().map(|error| (Instant::now(), error.clone()));
            dialled.inspect(|link| slot.put(link.clone()))
        };
        let dialled = timeout_at(bounded(self.connect_timeout, until), dial).await;
        dialled.unwrap_or(Err(EndpointError::Silent))
    }

    /// Learns from a new link's welcome; refuses one of another cluster.
    fn welcomed(&self, link: Link) -> Result<Link, EndpointError> {
        if self.known().learn(link.address(), link.welcome()) {
            self.learn_index(link.welcome().applied);
            return Ok(link);
        }
        link.end(&EndpointError::OtherCluster);
        Err(EndpointError::OtherCluster)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn add(&mut self, address: Address) {
        if self.addresses.len() < ADDRESSES && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// False when the welcome is another cluster's.
    fn learn(&mut self, address: &Address, welcome: &Welcome) -> bool {
        if *self.cluster.get_or_insert(welcome.cluster) != welcome.cluster {
            return false;
        }
        self.reached.insert(welcome.node, address.clone());
        for member in welcome.members.iter().filter(|member| member.id != welcome.node) {
            if !self.reached.contains_key(&member.id) {
                self.add(member.address.as_str().into());
            }
        }
        if self.leader.is_none() {
            self.leader = match (welcome.leader, &welcome.leader_address) {
                (Some(id), Some(advertised)) => {
                    Some(self.reached.get(&id).cloned().unwrap_or_else(|| advertised.as_str().into()))
                }
                _ => None,
            };
        }
        true
    }

    fn good(&self, address: &Address, lane: usize) -> Option<Link> {
        self.slots.get(&(address.clone(), lane))?.good()
    }

    fn slot(&mut self, address: &Address, lane: usize) -> Arc<Slot> {
        if self.slots.len() > 2 * ADDRESSES {
            self.slots.retain(|_, slot| slot.good().is_some());
        }
        Arc::clone(self.slots.entry((address.clone(), lane)).or_default())
    }
}

impl Slot {
    fn good(&self) -> Option<Link> {
        self.current().as_ref().filter(|link| link.is_good()).cloned()
    }

    fn put(&self, link: Link) {
        if let Some(old) = self.current().replace(link) {
            old.retire();
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
