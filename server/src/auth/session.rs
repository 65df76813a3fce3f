//! Logins: tokens that we sign ourselves.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tsdb::Timestamp;

use super::{Caller, Known};
use crate::database::users::{self, User};
use crate::database::{Database, DatabaseError};

/// Who signs.
const ISSUER: &str = "openanomaly";

/// How long a user's row is taken as it was read.
const FRESH: Duration = Duration::from_secs(2);

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: i64,
    exp: i64,
    /// When the password was set that it was given for.
    since_ms: i64,
}

/// Signs tokens, and knows them again.
pub struct Sessions {
    signing: EncodingKey,
    verifying: DecodingKey,
    users: Mutex<HashMap<String, (User, Timestamp)>>,
}

impl Sessions {
    /// Tokens that are signed with `secret`.
    pub fn new(secret: &str) -> Self {
        let (signing, verifying) =
            (EncodingKey::from_secret(secret.as_bytes()), DecodingKey::from_secret(secret.as_bytes()));
        Self { signing, verifying, users: Mutex::default() }
    }

    /// A token for `user` that lasts for `length`.
    pub fn token(&self, user: &User, now: Timestamp, length: Duration) -> String {
        let (iat, length) = (now.millis() / 1000, i64::try_from(length.as_secs()).unwrap_or(i64::MAX / 2));
        let claims = Claims {
            iss: ISSUER.into(),
            sub: user.name.clone(),
            iat,
            exp: iat.saturating_add(length),
            since_ms: user.changed_ms,
        };
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing);
        signed.expect("the claims are plain JSON and any secret signs")
    }

    /// Whose token it is, if it is one of ours and still good: not after a change of the password, nor for a user that
    /// is gone.
    ///
    /// # Errors
    /// The database can't be read.
    pub async fn find(&self, database: &Database, token: &str, now: Timestamp) -> Result<Option<Known>, DatabaseError> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_required_spec_claims(&["exp", "iss", "sub"]);
        rules.validate_aud = false;
        // The clock is an argument here.
        rules.validate_exp = false;
        let Ok(token) = jsonwebtoken::decode::<Claims>(token, &self.verifying, &rules) else { return Ok(None) };
        let claims = token.claims;
        if claims.exp <= now.millis() / 1000 {
            return Ok(None);
        }
        let user = self.user(database, &claims.sub, now).await?;
        let user = user.filter(|user| user.changed_ms == claims.since_ms);
        Ok(user.map(|user| Known { caller: Caller { name: user.name, role: user.role }, requests_per_second: None }))
    }

    /// Forgets what is known of a user, at once.
    pub fn forget(&self, name: &str) {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    async fn user(&self, database: &Database, name: &str, now: Timestamp) -> Result<Option<User>, DatabaseError> {
        let known = self.users.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some((user, read)) = known
            && now.millis().saturating_sub(read.millis()).unsigned_abs() < FRESH.as_millis() as u64
        {
            return Ok(Some(user));
        }
        let found = users::get(database, name).await?;
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            // Only those are remembered that are there, so that it can't be filled up with made-up names.
            Some(user) => drop(users.insert(name.to_owned(), (user.clone(), now))),
            None => drop(users.remove(name)),
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secret::Hasher;
    use crate::config::service::Role;
    use crate::database::file_url;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    async fn ana() -> (tempfile::TempDir, Database, User) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&file_url(&folder.path().join("state.db"))).await.unwrap();
        let pair = ("ana", "correct horse");
        let user = super::super::users::add(&database, &Hasher::default(), pair, Role::Editor, NOW).await.unwrap();
        (folder, database, user)
    }

    #[tokio::test]
    async fn a_token_lasts_until_it_ends_or_the_password_changes() {
        let (_folder, database, user) = ana().await;
        let (sessions, elsewhere) = (Sessions::new(SECRET), Sessions::new(SECRET));
        let token = sessions.token(&user, NOW, HOUR);
        let role = async |sessions: &Sessions, at| {
            sessions.find(&database, &token, at).await.unwrap().map(|known| known.caller.role)
        };
        assert_eq!(role(&sessions, NOW).await, Some(Role::Editor));
        assert_eq!(role(&elsewhere, NOW).await, Some(Role::Editor), "all processes know it");
        assert_eq!(role(&sessions, NOW + HOUR).await, None, "it ends");
        users::set_role(&database, "ana", Role::Viewer).await.unwrap();
        sessions.forget("ana");
        assert_eq!(role(&sessions, NOW).await, Some(Role::Viewer), "the role is that of now");
        users::set_password(&database, "ana", "x", NOW.millis()).await.unwrap();
        sessions.forget("ana");
        assert_eq!(role(&sessions, NOW).await, None, "another password");
        assert_eq!(role(&elsewhere, NOW + Duration::from_secs(1)).await, Some(Role::Editor));
        assert_eq!(role(&elsewhere, NOW + Duration::from_secs(2)).await, None, "and soon elsewhere");
    }

    #[tokio::test]
    async fn a_user_of_the_same_name_is_another_one() {
        let (_folder, database, user) = ana().await;
        let sessions = Sessions::new(SECRET);
        let token = sessions.token(&user, NOW, HOUR);
        users::delete(&database, "ana").await.unwrap();
        assert!(sessions.find(&database, &token, NOW).await.unwrap().is_none());
        users::insert(&database, &User { changed_ms: NOW.millis() + 5, ..user }).await.unwrap();
        assert!(sessions.find(&database, &token, NOW).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn tokens_that_are_not_ours_are_nobodys() {
        let (_folder, database, user) = ana().await;
        let sessions = Sessions::new(SECRET);
        let good = sessions.token(&user, NOW, HOUR);
        let (head, rest) = good.split_once('.').unwrap();
        let (body, sign) = rest.split_once('.').unwrap();
        let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        let other = Sessions::new("another secret, as long as the first").token(&user, NOW, HOUR);
        for wrong in [
            "".to_owned(),
            "a.b.c".into(),
            other,
            format!("{head}.{body}."),
            format!("{head}.{body}"),
            format!("{unsigned}.{body}."),
            format!("{unsigned}.{body}.{sign}"),
            format!("{good}x"),
            format!("{good}.{sign}"),
        ] {
            assert!(sessions.find(&database, &wrong, NOW).await.unwrap().is_none(), "{wrong}");
        }
        assert!(sessions.find(&database, &good, NOW).await.unwrap().is_some());
    }
}
