//! API keys: `oa_<id>_<secret>`, of which only a hash of the secret is kept.
//!
//! A hash that is hard to compute is hard for us too. So a key that was right once is known again by its SHA-256, and
//! only its row is read again every few seconds: a key that is revoked anywhere is void everywhere that soon.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tsdb::Timestamp;

use super::secret::{self, Digest256, Hasher};
use super::{Caller, Known};
use crate::config::service::Role;
use crate::database::api_keys::{self, ApiKey};
use crate::database::{Database, DatabaseError};

/// How every key begins.
pub const PREFIX: &str = "oa_";

/// How long a key's row is taken as it was read.
const FRESH: Duration = Duration::from_secs(2);

/// How many keys are known at most; beyond, all are looked up anew.
const MOST_KNOWN: usize = 10_000;

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// From when on it is void, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
    /// How many requests a second it may make on average, where that is not what holds for all.
    pub requests_per_second: Option<f64>,
}

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Something in it is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is one of this name.
    #[error("there is a key `{0}` already")]
    Exists(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Makes a key, and answers it with its row: this is the only time that anybody sees it.
///
/// # Errors
/// A name that is taken, or something that makes no sense.
pub async fn create(database: &Database, new: NewKey, by: &str, now: Timestamp) -> Result<(String, ApiKey), KeyError> {
    super::users::check_name(&new.name).map_err(KeyError::Invalid)?;
    if new.expires_ms.is_some_and(|at| at <= now.millis()) {
        return Err(KeyError::Invalid("the key would expire before it is made".into()));
    }
    if new.requests_per_second.is_some_and(|rate| !super::limit::is_rate(rate)) {
        return Err(KeyError::Invalid(super::limit::EXPECTED_RATE.into()));
    }
    let (id, secret) = (secret::random_hex(8), secret::random_hex(32));
    let hashed = secret.clone();
    let hash = tokio::task::spawn_blocking(move || secret::hash(&hashed)).await.expect("hashing doesn't panic");
    let row = ApiKey {
        id: id.clone(),
        name: new.name,
        hash,
        role: new.role,
        requests_per_second: new.requests_per_second,
        created_ms: now.millis(),
        created_by: by.to_owned(),
        expires_ms: new.expires_ms,
        used_ms: None,
    };
    if !api_keys::insert(database, &row).await? {
        return Err(KeyError::Exists(row.name));
    }
    Ok((format!("{PREFIX}{id}_{secret}"), row))
}

/// A key as it is presented, taken apart: its id and its secret.
fn parse(presented: &str) -> Option<(&str, &str)> {
    let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
    (is_id(id) && is_hex(secret, 64)).then_some((id, secret))
}

/// Whether a text can be the id of a key.
pub fn is_id(text: &str) -> bool {
    is_hex(text, 16)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A key that was right.
struct Right {
    row: ApiKey,
    read: Timestamp,
}

/// The keys that were presented lately, and when.
#[derive(Default)]
pub struct Keys {
    right: Mutex<HashMap<Digest256, Right>>,
    used: Mutex<HashMap<String, i64>>,
}

/// What is behind these locks is whole at any time, even if a thread that held one has died.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keys {
    /// Whose key was presented, if it is right and still good. Where it must be compared with its hash, which costs,
    /// `may_try` is asked first.
    ///
    /// # Errors
    /// The database can't be read, or `may_try` refuses.
    pub async fn find<E: From<DatabaseError>>(
        &self,
        database: &Database,
        hasher: &Hasher,
        presented: &str,
        now: Timestamp,
        may_try: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<Known>, E> {
        let Some((id, secret)) = parse(presented) else { return Ok(None) };
        let digest = secret::digest(presented);
        let row = match self.remembered(&digest, now) {
            Some(Remembered::Fresh(row)) => row,
            Some(Remembered::Stale(known)) => match api_keys::get(database, id).await? {
                Some(row) if row.hash == known.hash => self.remember(digest, row, now),
                _ => {
                    lock(&self.right).remove(&digest);
                    return Ok(None);
                }
            },
            None => {
                may_try()?;
                let row = api_keys::get(database, id).await?;
                let is_right = hasher.is_right(secret, row.as_ref().map(|row| row.hash.as_str())).await;
                match row.filter(|_| is_right) {
                    Some(row) => self.remember(digest, row, now),
                    None => return Ok(None),
                }
            }
        };
        if row.expires_ms.is_some_and(|at| at <= now.millis()) {
            return Ok(None);
        }
        lock(&self.used).insert(row.id.clone(), now.millis());
        let caller = Caller { name: format!("key:{}", row.name), role: row.role };
        Ok(Some(Known { caller, requests_per_second: row.requests_per_second }))
    }

    /// Forgets the key `id` at once.
    pub fn forget(&self, id: &str) {
        lock(&self.right).retain(|_, right| right.row.id != id);
    }

    /// Writes down when keys were last used since it was last written down.
    ///
    /// # Errors
    /// The database can't be written; it will be tried again.
    pub async fn write_uses(&self, database: &Database) -> Result<(), DatabaseError> {
        let used: Vec<(String, i64)> = lock(&self.used).drain().collect();
        if used.is_empty() {
            return Ok(());
        }
        let written = api_keys::used(database, &used).await;
        if written.is_err() {
            let mut waiting = lock(&self.used);
            used.into_iter().for_each(|(id, at)| _ = waiting.entry(id).or_insert(at));
        }
        written
    }

    fn remembered(&self, digest: &Digest256, now: Timestamp) -> Option<Remembered> {
        let right = lock(&self.right);
        let Right { row, read } = right.get(digest)?;
        let is_fresh = now.millis().saturating_sub(read.millis()).unsigned_abs() < FRESH.as_millis() as u64;
        Some(if is_fresh { Remembered::Fresh(row.clone()) } else { Remembered::Stale(row.clone()) })
    }

    fn remember(&self, digest: Digest256, row: ApiKey, now: Timestamp) -> ApiKey {
        let mut right = lock(&self.right);
        if right.len() >= MOST_KNOWN && !right.contains_key(&digest) {
            right.clear();
        }
        right.insert(digest, Right { row: row.clone(), read: now });
        row
    }
}

/// A key that was right before.
enum Remembered {
    /// A moment ago.
    Fresh(ApiKey),
    /// Longer ago: it may have been revoked.
    Stale(ApiKey),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::file_url;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    async fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&file_url(&folder.path().join("state.db"))).await.unwrap();
        (folder, database)
    }

    fn new(name: &str) -> NewKey {
        NewKey { name: name.into(), role: Role::Editor, expires_ms: None, requests_per_second: None }
    }

    /// Who it is, and whether the hash had to be computed.
    async fn find(keys: &Keys, database: &Database, key: &str, now: Timestamp) -> (Option<String>, bool) {
        let mut tried = false;
        let may_try = || {
            tried = true;
            Ok::<_, DatabaseError>(())
        };
        let found = keys.find(database, &Hasher::default(), key, now, may_try).await.unwrap();
        (found.map(|known| known.caller.name), tried)
    }

    #[tokio::test]
    async fn a_key_is_hashed_once_and_void_soon_after_it_is_revoked() {
        let (_folder, database) = database().await;
        let (key, row) = create(&database, new("grafana"), "me", NOW).await.unwrap();
        let here = Some("key:grafana".to_owned());
        let (keys, elsewhere) = (Keys::default(), Keys::default());
        assert!(!row.hash.contains(key.rsplit_once('_').unwrap().1));
        assert_eq!(find(&keys, &database, &key, NOW).await, (here.clone(), true));
        assert_eq!(find(&elsewhere, &database, &key, NOW).await, (here.clone(), true));
        for seconds in [1, 3, 6] {
            let later = NOW + Duration::from_secs(seconds);
            assert_eq!(find(&keys, &database, &key, later).await, (here.clone(), false));
        }
        keys.write_uses(&database).await.unwrap();
        let used = api_keys::get(&database, &row.id).await.unwrap().unwrap().used_ms;
        assert_eq!(used, Some((NOW + Duration::from_secs(6)).millis()));

        assert!(api_keys::delete(&database, &row.id).await.unwrap());
        keys.forget(&row.id);
        assert_eq!(find(&keys, &database, &key, NOW).await.0, None, "where it was revoked, at once");
        assert_eq!(find(&elsewhere, &database, &key, NOW + Duration::from_secs(1)).await.0, here);
        assert_eq!(find(&elsewhere, &database, &key, NOW + Duration::from_secs(2)).await.0, None, "and soon elsewhere");
    }

    #[tokio::test]
    async fn what_is_no_key_is_nobody() {
        let (_folder, database) = database().await;
        let (key, _) = create(&database, new("a"), "me", NOW).await.unwrap();
        let (other, _) = create(&database, new("b"), "me", NOW).await.unwrap();
        let (id, secret) = (&key[..19], &other[19..]);
        let keys = Keys::default();
        for wrong in ["", "oa_", "oa__", &key[..key.len() - 1], &format!("{key}0"), &key.to_uppercase(), &key[3..]] {
            assert_eq!(find(&keys, &database, wrong, NOW).await, (None, false), "{wrong}");
        }
        assert_eq!(find(&keys, &database, &format!("{id}{secret}"), NOW).await, (None, true), "another key's secret");
        let unknown = format!("oa_{}{}", "0".repeat(16), &key[19..]);
        assert_eq!(find(&keys, &database, &unknown, NOW).await, (None, true), "an unknown id takes as long");
    }

    #[tokio::test]
    async fn a_key_expires() {
        let (_folder, database) = database().await;
        let expires_ms = Some(NOW.millis() + 1000);
        let (key, _) = create(&database, NewKey { expires_ms, ..new("a") }, "me", NOW).await.unwrap();
        let keys = Keys::default();
        assert!(find(&keys, &database, &key, NOW).await.0.is_some());
        assert!(find(&keys, &database, &key, NOW + Duration::from_secs(1)).await.0.is_none());
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused() {
        let (_folder, database) = database().await;
        create(&database, new("a"), "me", NOW).await.unwrap();
        for (wrong, words) in [
            (new("a"), "a key `a` already"),
            (new(""), "is no name"),
            (new("a b"), "is no name"),
            (NewKey { expires_ms: Some(NOW.millis()), ..new("b") }, "would expire"),
            (NewKey { requests_per_second: Some(0.0), ..new("b") }, "above 0"),
            (NewKey { requests_per_second: Some(f64::NAN), ..new("b") }, "above 0"),
        ] {
            let error = create(&database, wrong, "me", NOW).await.map(drop).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
