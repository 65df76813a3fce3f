//! Which pipelines this process runs, where several share a database: each has a lease in it, which its holder renews
//! and which others take over once it has lapsed.
//!
//! Every process looks often, and keeps to three rules. It holds at most its share, all pipelines divided by the
//! processes that live; what is above that it gives up. It claims what is free, up to its share. And what nobody has
//! claimed for long it claims beyond that: others may not know the pipeline, or not be able to run it. Shares are the
//! same for all, so that once everybody has theirs nothing moves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::app::App;
use crate::database::leases::{self, View};
use crate::database::{Database, DatabaseError, jobs};

/// A lease that lasts less is lost by a pause that is none.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long a reload waits for the leases of new pipelines; what comes later starts later.
const PATIENCE: Duration = Duration::from_secs(2);

type Names = BTreeSet<String>;

/// What the keeper of the leases and the service tell each other.
#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    /// The service wants others.
    wake: Notify,
    /// Others are ours.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    wanted: Names,
    ours: Names,
    /// What the service runs, or is about to: their leases are kept, though they may not be ours any more.
    running: Names,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole after every change, so a panic elsewhere leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leases of this process.
pub struct Leases {
    app: App,
    shared: Arc<Shared>,
    looks: watch::Receiver<u64>,
    keeper: JoinHandle<()>,
    // Locked as long as it lives.
    _file: Option<File>,
}

impl Leases {
    /// Registers this process, and keeps its leases from now on. `file` is that of the database, where it is one.
    pub async fn open(app: App, file: Option<&Path>) -> Self {
        let file = file.and_then(lock);
        if let Some((_, true)) = file
            && let Err(error) = forget_all(&app.database).await
        {
            tracing::warn!("what an earlier process held is not taken over at once: {error}");
        }
        let shared = Arc::new(Shared::default());
        let (looked, looks) = watch::channel(0);
        let keeper = Keeper::new(app.clone(), shared.clone(), looked);
        Self { app, shared, looks, keeper: tokio::spawn(keeper.keep()), _file: file.map(|(file, _)| file) }
    }

    /// Says which pipelines there are to run, and answers which of them are ours.
    pub async fn want(&self, pipelines: Names) -> Names {
        let mut looks = self.looks.clone();
        looks.mark_unchanged();
        self.shared.table().wanted = pipelines;
        self.shared.wake.notify_one();
        // Where the database is away, all stays as it is.
        let _ = tokio::time::timeout(PATIENCE, looks.changed()).await;
        self.ours()
    }

    /// The pipelines that are ours to run.
    pub fn ours(&self) -> Names {
        let table = self.shared.table();
        table.ours.intersection(&table.wanted).cloned().collect()
    }

    /// Answers which of `fresh` may run now beside those that are `running`. Until this is called again, nobody else gets
    /// any of them.
    pub fn hold<'a>(&self, running: impl Iterator<Item = &'a str>, fresh: impl Iterator<Item = &'a str>) -> Names {
        let mut table = self.shared.table();
        let fresh: Names = fresh.filter(|name| table.ours.contains(*name)).map(str::to_owned).collect();
        table.running = running.map(str::to_owned).chain(fresh.iter().cloned()).collect();
        fresh
    }

    /// Waits until other pipelines are ours.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Gives everything up at once, for a process that has stopped.
    pub async fn close(self) {
        self.keeper.abort();
        let _ = self.keeper.await;
        if let Err(error) = leases::leave(&self.app.database, &self.app.instance).await {
            tracing::warn!("others take over only once the leases have lapsed: {error}");
        }
    }
}

/// Locks the neighbour of the database's file that says who uses it; says whether nobody else does. The lock goes with
/// the process, however that ends.
fn lock(file: &Path) -> Option<(File, bool)> {
    let path = file.with_added_extension("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&path).ok()?;
    let is_alone = lock.try_lock().is_ok();
    if is_alone {
        lock.unlock().ok()?;
    }
    // Who comes now finds it in use. Some file systems have no locks: then leases have to lapse.
    lock.lock_shared().ok()?;
    Some((lock, is_alone))
}

/// The name of the machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// What an earlier process on the same file held, it holds no more.
async fn forget_all(database: &Database) -> Result<(), DatabaseError> {
    leases::forget_all(database).await?;
    jobs::lapse_all(database).await
}

/// Looks after the leases.
struct Keeper {
    app: App,
    host: String,
    shared: Arc<Shared>,
    looked: watch::Sender<u64>,
    takeover: Duration,
    renewed: Option<Instant>,
    /// Since when the database has answered without a pause; since ever, where it has not failed yet.
    reached: Option<Option<Instant>>,
    memory: Memory,
}

impl Keeper {
    fn new(app: App, shared: Arc<Shared>, looked: watch::Sender<u64>) -> Self {
        let takeover = app.current().config.takeover.max(SHORTEST);
        let (host, memory) = (host(), Memory::default());
        Self { app, host, shared, looked, takeover, renewed: None, reached: Some(None), memory }
    }

    async fn keep(mut self) {
        let mut tick = tokio::time::interval(self.takeover / 10);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = self.shared.clone();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = shared.wake.notified() => {}
            }
            let outcome = tokio::time::timeout(self.takeover, self.look()).await;
            match outcome.map_err(|_| "it does not answer".to_owned()) {
                Ok(Ok(())) => self.answered(),
                Ok(Err(error)) => self.failed(&error.to_string()),
                Err(silence) => self.failed(&silence),
            }
            self.looked.send_modify(|looks| *looks += 1);
        }
    }

    fn answered(&mut self) {
        if self.reached.is_none() {
            self.reached = Some(Some(Instant::now()));
            self.app.status.database(None);
            tracing::info!("the database answers again");
        }
    }

    /// Without the database nobody can take over what others hold, so all go on with what they have. Should two run the
    /// same pipeline after all, both write the same.
    fn failed(&mut self, error: &str) {
        if self.reached.take().is_some() {
            tracing::error!("the pipelines that run go on, and no other starts, until the database answers: {error}");
        }
        self.app.status.database(Some(error.to_owned()));
    }

    /// Others need time to renew their leases too after the database was away.
    fn may_take_over(&self) -> bool {
        let Some(reached) = self.reached else { return false };
        reached.is_none_or(|since| since.elapsed() >= self.takeover)
    }

    async fn look(&mut self) -> Result<(), DatabaseError> {
        let (database, me) = (self.app.database.clone(), self.app.instance.clone());
        if self.renewed.is_none_or(|renewed| renewed.elapsed() >= self.takeover / 3) {
            let begun = Instant::now();
            leases::beat(&database, &me, &self.host).await?;
            leases::renew(&database, &me, self.takeover).await?;
            self.renewed = Some(begun);
        }
        let view = leases::view(&database, self.takeover).await?;
        let wanted = self.shared.table().wanted.clone();
        let now = Instant::now();
        let Plan { mut keep, claim } = self.memory.plan(&me, &wanted, &view, now, self.takeover);
        if !claim.is_empty() && self.may_take_over() {
            keep.extend(leases::claim(&database, &claim, &me, self.takeover).await?);
        }
        self.share_out(&database, &me, keep, &view).await
    }

    /// Says what is ours, and releases what is not and no longer runs.
    async fn share_out(&self, database: &Database, me: &str, ours: Names, view: &View) -> Result<(), DatabaseError> {
        let released: Names = {
            let mut table = self.shared.table();
            if table.ours != ours {
                table.ours = ours;
                self.shared.changed.notify_one();
            }
            let held = view.holders.iter().filter(|(_, holder)| *holder == me).map(|(name, _)| name);
            held.filter(|name| !table.ours.contains(*name) && !table.running.contains(*name)).cloned().collect()
        };
        if released.is_empty() { Ok(()) } else { leases::release(database, &released, me).await }
    }
}

/// What one process remembers from look to look.
#[derive(Debug, Default)]
struct Memory {
    /// Since when a pipeline has been free.
    free: BTreeMap<String, Instant>,
    /// What is held though it is above the share, since nobody else wanted it.
    unwanted: Names,
    instances: Names,
}

/// What one process does after a look.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    keep: Names,
    claim: Names,
}

impl Memory {
    /// Decides which of the pipelines that `me` holds it keeps, and which it claims.
    fn plan(&mut self, me: &str, wanted: &Names, view: &View, now: Instant, patience: Duration) -> Plan {
        if !view.instances.is_subset(&self.instances) {
            // Somebody new may want what nobody did.
            self.unwanted.clear();
        }
        self.instances.clone_from(&view.instances);
        let share = wanted.len().div_ceil(view.instances.len().max(1));
        let is_mine = |name: &&String| view.holders.get(*name).is_some_and(|holder| holder == me);
        let mut keep: Names = wanted.iter().filter(is_mine).cloned().collect();
        self.unwanted.retain(|name| keep.contains(name));
        // What nobody else wanted is above the share for good.
        let voluntary: Vec<String> = keep.difference(&self.unwanted).cloned().collect();
        let given = voluntary.into_iter().skip(share);
        for name in given {
            keep.remove(&name);
        }
        let free: Vec<&String> = wanted.iter().filter(|name| !view.holders.contains_key(*name)).collect();
        self.free.retain(|name, _| free.contains(&name));
        let room = share.saturating_sub(keep.len());
        let mut claim: Names = free.iter().take(room).map(|name| (*name).clone()).collect();
        for name in free {
            let since = *self.free.entry(name.clone()).or_insert(now);
            if now.duration_since(since) >= patience && claim.insert(name.clone()) {
                self.unwanted.insert(name.clone());
            }
        }
        Plan { keep, claim }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Processes that share pipelines, as their keepers do, over seconds.
    struct World {
        processes: BTreeMap<String, (Memory, Names)>,
        holders: BTreeMap<String, String>,
        now: Instant,
        moves: usize,
    }

    fn names(count: usize) -> Names {
        (0..count).map(|at| format!("p{at:02}")).collect()
    }

    impl World {
        fn new() -> Self {
            Self { processes: BTreeMap::new(), holders: BTreeMap::new(), now: Instant::now(), moves: 0 }
        }

        fn join(&mut self, process: &str, wanted: Names) {
            self.processes.insert(process.into(), (Memory::default(), wanted));
        }

        /// Takes `process` out, as after its leases have lapsed.
        fn kill(&mut self, process: &str) {
            self.processes.remove(process);
            self.holders.retain(|_, holder| holder != process);
        }

        /// What each holds after `seconds`, in which every process looks once a second.
        fn after(&mut self, seconds: usize) -> Vec<usize> {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                let instances: Names = self.processes.keys().cloned().collect();
                for (me, (memory, wanted)) in &mut self.processes {
                    let view = View { instances: instances.clone(), holders: self.holders.clone() };
                    let Plan { keep, claim } = memory.plan(me, wanted, &view, self.now, PATIENCE);
                    let before = self.holders.clone();
                    self.holders.retain(|name, holder| holder != me || keep.contains(name));
                    for name in claim {
                        assert!(!view.holders.contains_key(&name), "only what is free is claimed");
                        self.holders.insert(name, me.clone());
                    }
                    self.moves += usize::from(before != self.holders);
                }
            }
            let count = |process: &String| self.holders.values().filter(|holder| *holder == process).count();
            self.processes.keys().map(count).collect()
        }
    }

    #[test]
    fn pipelines_are_shared_and_then_nothing_moves() {
        let mut world = World::new();
        world.join("a", names(10));
        assert_eq!(world.after(1), [10]);
        world.join("b", names(10));
        assert_eq!(world.after(3), [5, 5]);
        world.join("c", names(10));
        assert_eq!(world.after(3), [4, 4, 2]);
        let moves = world.moves;
        assert_eq!((world.after(60), world.moves), (vec![4, 4, 2], moves));
        world.kill("a");
        assert_eq!(world.after(2), [5, 5]);
        world.kill("b");
        assert_eq!(world.after(1), [10]);
    }

    #[test]
    fn what_nobody_else_can_run_is_run_above_the_share() {
        let mut world = World::new();
        world.join("a", names(4));
        world.join("b", names(0));
        assert_eq!(world.after(5), [2, 0]);
        assert_eq!(world.after(10), [4, 0]);
        let moves = world.moves;
        assert_eq!((world.after(60), world.moves), (vec![4, 0], moves), "nothing flaps");
        world.join("c", names(4));
        assert_eq!(world.after(3), [2, 0, 2]);
    }

    #[test]
    fn a_pipeline_that_is_gone_is_given_up() {
        let mut world = World::new();
        world.join("a", names(3));
        world.after(1);
        world.join("a", names(2));
        assert_eq!(world.after(1), [2]);
    }

    #[test]
    fn whoever_is_alone_with_the_file_knows_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let (first, is_alone) = lock(&file).unwrap();
        assert!(is_alone);
        let (second, is_alone) = lock(&file).unwrap();
        assert!(!is_alone);
        drop(first);
        assert!(!lock(&file).unwrap().1);
        drop(second);
        assert!(lock(&file).unwrap().1);
    }
}
