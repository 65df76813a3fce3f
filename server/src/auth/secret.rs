//! Secrets: made, hashed and compared.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// How many hashes are computed at the same time: each takes 19 MiB and about 20 ms of a core.
const AT_ONCE: usize = 4;

/// `bytes` bytes that nobody can guess, as hexadecimal digits.
pub fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    OsRng.try_fill_bytes(&mut random).expect("every system that this runs on has randomness");
    hex(&random)
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a secret is known by in memory.
pub type Digest256 = [u8; 32];

/// The SHA-256 of a secret. Whether two secrets are the same is asked of these: how long that takes tells nothing of
/// the secrets.
pub fn digest(secret: &str) -> Digest256 {
    Sha256::digest(secret.as_bytes()).into()
}

/// Computes hashes for passwords and keys, a few at a time and off the threads that serve others.
#[derive(Debug)]
pub struct Hasher {
    permits: Semaphore,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { permits: Semaphore::new(AT_ONCE) }
    }
}

impl Hasher {
    /// The argon2id hash of a secret with a salt of its own, in PHC form.
    pub async fn hash(&self, secret: &str) -> String {
        let secret = secret.to_owned();
        self.work(move || hash(&secret)).await
    }

    /// Whether `hash` is one of `secret`. It takes the same time where there is none to compare with.
    pub async fn is_right(&self, secret: &str, hash: Option<&str>) -> bool {
        let (secret, hash) = (secret.to_owned(), hash.map(str::to_owned));
        self.work(move || {
            let known = hash.as_deref().unwrap_or(NOBODYS);
            let Ok(known) = PasswordHash::new(known) else { return false };
            Argon2::default().verify_password(secret.as_bytes(), &known).is_ok() && hash.is_some()
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let _permit = self.permits.acquire().await.expect("it is never closed");
        tokio::task::spawn_blocking(work).await.expect("hashing doesn't panic")
    }
}

/// The same as [`Hasher::hash`], on this thread.
pub fn hash(secret: &str) -> String {
    let hash: PasswordHash =
        Argon2::default().hash_password(secret.as_bytes()).expect("any text of a bounded length can be hashed");
    hash.to_string()
}

/// A hash with the parameters of all others, of a password that nobody knows.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyBpdA$zW0+3QkPbA3cdYMkx2xvwyNbYyJ7Yq6dUiXNLm1cVbA";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_secret_is_right() {
        let hasher = Hasher::default();
        let known = hasher.hash("s3cret").await;
        assert!(known.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{known}");
        assert_ne!(known, hasher.hash("s3cret").await, "every hash has a salt of its own");
        assert!(hasher.is_right("s3cret", Some(&known)).await);
        for (secret, hash) in
            [("s3cret ", Some(known.as_str())), ("", Some(&known)), ("s3cret", None), ("x", Some("x"))]
        {
            assert!(!hasher.is_right(secret, hash).await, "{secret} {hash:?}");
        }
    }

    #[test]
    fn an_unknown_name_costs_what_a_known_one_does() {
        let (nobodys, real) = (PasswordHash::new(NOBODYS).unwrap(), hash("x"));
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!((nobodys.algorithm, nobodys.params), (real.algorithm, real.params.clone()));
    }

    #[test]
    fn secrets_differ_and_are_as_long_as_asked() {
        assert_eq!((random_hex(32).len(), random_hex(0).len()), (64, 0));
        assert_ne!(random_hex(16), random_hex(16));
    }
}
