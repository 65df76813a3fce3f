//! The one place that knows which concrete parts stand behind the ports.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use engine::store::Stored;
use engine::{Pipeline, Ports};
use models::{BuildError, Forecaster, Resources};
use serde_json::{Map, Value};
use tsdb::embedded::{Embedded, EmbeddedError, EmbeddedOptions};
use tsdb::prometheus::remote_write::Options;
use tsdb::prometheus::{Auth, ClientError, Connection, QueryRange, RemoteWrite, Resolver, Tenant, Tls};
use tsdb::{Read, Write};

use crate::config::{Config, Datasource};
use crate::egress::{EgressError, Guard};
use crate::metrics::{MeteredModel, MeteredStore, Metrics};

/// Why a part can't be made.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// A server's address, credentials or certificates.
    #[error("datasource `{datasource}`: {source}")]
    Client {
        /// The datasource.
        datasource: String,
        /// What is wrong.
        source: ClientError,
    },
    /// A file with a secret.
    #[error("datasource `{datasource}`: {path}: {source}")]
    Secret {
        /// The datasource.
        datasource: String,
        /// The file.
        path: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The embedded store.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// A model.
    #[error("pipeline `{pipeline}`: {source}")]
    Model {
        /// The pipeline.
        pipeline: String,
        /// What is wrong.
        source: BuildError,
    },
    /// A URL that the service may not ask.
    #[error("pipeline `{pipeline}`: `{field}`: {source}")]
    Egress {
        /// The pipeline.
        pipeline: String,
        /// Where the URL stands.
        field: &'static str,
        /// Why not.
        source: EgressError,
    },
    /// What of the configuration's `egress` makes no sense.
    #[error("{0}")]
    Allowed(String),
    /// A datasource that is not there.
    #[error("pipeline `{pipeline}`: there is no datasource `{datasource}`")]
    Datasource {
        /// The pipeline.
        pipeline: String,
        /// The datasource.
        datasource: String,
    },
}

/// Who has written a pipeline, and so which addresses it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Whoever has the configuration: any.
    Operator,
    /// Whoever may use the API, or the database of pipelines: public ones, and what the configuration allows.
    Api,
}

impl Trust {
    /// Who has written a stored pipeline: what is only read lies beside the configuration.
    pub fn of(stored: &Stored) -> Self {
        if stored.is_read_only { Self::Operator } else { Self::Api }
    }
}

/// A datasource's two ports.
#[derive(Clone)]
struct Store {
    source: Arc<dyn Read>,
    sink: Arc<dyn Write>,
    /// Reads back what was written.
    written: Arc<dyn Read>,
}

/// What is read of a pipeline's source, and what reads back what it has written.
pub type Readers = (Arc<dyn Read>, Arc<dyn Read>);

/// All datasources of a configuration.
pub struct Assembly {
    stores: HashMap<String, Store>,
    datasources: BTreeMap<String, Datasource>,
    embedded: Vec<(Datasource, Arc<Embedded>)>,
    resources: Resources,
    /// Looks at the URLs of datasources that pipelines give themselves.
    reading: Guard,
    /// Looks at the URLs of models.
    asking: Guard,
}

impl Assembly {
    /// Opens every datasource of `config`; servers are not asked anything yet.
    ///
    /// # Errors
    /// A datasource that can't be used.
    pub fn new(config: &Config) -> Result<Self, AssemblyError> {
        Self::with(config, vec![], Resources::new(config.onnx.clone()))
    }

    /// The same for a changed configuration; embedded stores that it still names stay open, and models that are loaded
    /// stay so unless what holds for all of them changed.
    ///
    /// # Errors
    /// A datasource that can't be used.
    pub fn again(&self, config: &Config) -> Result<Self, AssemblyError> {
        let known = Some(&self.resources).filter(|resources| *resources.onnx.settings() == config.onnx);
        let resources = known.cloned().unwrap_or_else(|| Resources::new(config.onnx.clone()));
        Self::with(config, self.embedded.clone(), resources)
    }

    fn with(
        config: &Config,
        open: Vec<(Datasource, Arc<Embedded>)>,
        resources: Resources,
    ) -> Result<Self, AssemblyError> {
        let (stores, datasources) = (HashMap::new(), config.datasources.clone());
        let guard = |known: Vec<&str>| Guard::new(&config.egress, known).map_err(AssemblyError::Allowed);
        let (reading, asking) = (guard(datasources.values().flat_map(Datasource::urls).collect())?, guard(vec![])?);
        let mut assembly = Self { stores, datasources, embedded: vec![], resources, reading, asking };
        for (name, datasource) in &config.datasources {
            let store = match &datasource.path {
                Some(path) => assembly.embedded(datasource, path, &open)?,
                None => server(name, datasource, None)?,
            };
            assembly.stores.insert(name.clone(), store);
        }
        Ok(assembly)
    }

    fn embedded(
        &mut self,
        datasource: &Datasource,
        path: &Path,
        open: &[(Datasource, Arc<Embedded>)],
    ) -> Result<Store, AssemblyError> {
        let known = open.iter().find(|(known, _)| known == datasource).map(|(_, store)| store.clone());
        let options = EmbeddedOptions { retention: datasource.retention, ..EmbeddedOptions::default() };
        let store = known.map_or_else(|| Embedded::open(path, &options).map(Arc::new), Ok)?;
        self.embedded.push((datasource.clone(), store.clone()));
        Ok(Store { source: store.clone(), sink: store.clone(), written: store })
    }

    /// What all models share.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The same for models that somebody has named: they are asked only where that is allowed.
    pub fn resources_for(&self, trust: Trust) -> Resources {
        let resolver = (trust == Trust::Api).then(|| models::Resolver(Arc::new(self.asking.clone())));
        Resources { resolver, ..self.resources.clone() }
    }

    /// Whether the service may ask for what a pipeline names.
    ///
    /// # Errors
    /// The first URL that it may not.
    pub fn check(&self, pipeline: &Pipeline, trust: Trust) -> Result<(), AssemblyError> {
        if trust == Trust::Operator {
            return Ok(());
        }
        let wrong = |field| {
            let pipeline = pipeline.name.clone();
            move |source| AssemblyError::Egress { pipeline, field, source }
        };
        for (field, url) in
            [("prometheus_url", &pipeline.prometheus_url), ("prometheus_write_url", &pipeline.prometheus_write_url)]
        {
            url.as_deref().map_or(Ok(()), |url| self.reading.check(url)).map_err(wrong(field))?;
        }
        if let Some((url, training)) = pipeline.training.as_ref().and_then(|one| Some((one.endpoint.as_ref()?, one))) {
            self.check_endpoint(url, &training.parameters).map_err(wrong("training.endpoint"))?;
        }
        let Some(endpoint) = &pipeline.model.endpoint else { return Ok(()) };
        self.check_endpoint(&endpoint.url, &pipeline.model.parameters).map_err(wrong("model.endpoint"))
    }

    /// Whether the service may ask a model or a trainer at `url`, which somebody has named over the API, with these
    /// parameters.
    ///
    /// # Errors
    /// It may not.
    pub fn check_endpoint(&self, url: &str, parameters: &Map<String, Value>) -> Result<(), EgressError> {
        self.asking.check(url)?;
        if parameters.contains_key("bearer_token_env") { self.asking.check_named(url) } else { Ok(()) }
    }

    /// Where the datasource `name` is written, not measured: for what no pipeline writes.
    pub fn sink(&self, name: &str) -> Option<Arc<dyn Write>> {
        self.stores.get(name).map(|store| store.sink.clone())
    }

    /// What the datasource `name` is read by, not measured: for what no pipeline reads.
    pub fn source(&self, name: &str) -> Option<Arc<dyn Read>> {
        self.stores.get(name).map(|store| store.source.clone())
    }

    /// What `pipeline`, which `trust` has written, reads, and what reads back what it has written, not measured.
    ///
    /// # Errors
    /// A datasource that is not there or can't be used.
    pub fn readers(&self, pipeline: &Pipeline, trust: Trust) -> Result<Readers, AssemblyError> {
        self.check(pipeline, trust)?;
        self.store(pipeline, trust).map(|store| (store.source, store.written))
    }

    /// The measured ports of a pipeline, which `trust` has written.
    ///
    /// # Errors
    /// A model or datasource that is not there or can't be used, or may not be asked.
    pub fn ports(&self, pipeline: &Pipeline, trust: Trust, metrics: &Arc<Metrics>) -> Result<Ports, AssemblyError> {
        self.check(pipeline, trust)?;
        let store = self.store(pipeline, trust)?;
        let model: Arc<dyn Forecaster> = Arc::new(MeteredModel {
            inner: self.model(pipeline, trust)?,
            metrics: metrics.clone(),
            pipeline: pipeline.name.clone(),
            model: pipeline.model.id.clone(),
            seen: Mutex::default(),
        });
        Ok(Ports {
            source: Arc::new(metered(store.source, pipeline, metrics)),
            sink: Arc::new(metered(store.sink, pipeline, metrics)),
            written: Arc::new(metered(store.written, pipeline, metrics)),
            model,
        })
    }

    /// The ports of a pipeline that nobody has given a name to: they are not measured, since anybody can make up any
    /// number of them.
    ///
    /// # Errors
    /// A model or datasource that is not there or can't be used.
    pub fn nameless_ports(&self, pipeline: &Pipeline, trust: Trust) -> Result<Ports, AssemblyError> {
        self.check(pipeline, trust)?;
        let Store { source, sink, written } = self.store(pipeline, trust)?;
        Ok(Ports { source, sink, written, model: self.model(pipeline, trust)? })
    }

    /// The model of a pipeline, not measured.
    ///
    /// # Errors
    /// A model that is not there or can't be used.
    pub fn model(&self, pipeline: &Pipeline, trust: Trust) -> Result<Arc<dyn Forecaster>, AssemblyError> {
        models::build(&pipeline.model, &self.resources_for(trust))
            .map_err(|source| AssemblyError::Model { pipeline: pipeline.name.clone(), source })
    }

    /// The embedded store of the datasource `name`; the first one there is, where none is named and the default is
    /// none.
    pub fn embedded_store(&self, name: Option<&str>) -> Option<Arc<Embedded>> {
        let of = |name: &str| {
            let datasource = self.datasources.get(name)?;
            self.embedded.iter().find(|(known, _)| known == datasource).map(|(_, store)| store.clone())
        };
        match name {
            Some(name) => of(name),
            None => of("default").or_else(|| self.datasources.keys().find_map(|name| of(name))),
        }
    }

    /// The pipeline's datasource, with the URLs that the pipeline gives itself.
    fn store(&self, pipeline: &Pipeline, trust: Trust) -> Result<Store, AssemblyError> {
        let name = &pipeline.datasource;
        if pipeline.prometheus_url.is_none() && pipeline.prometheus_write_url.is_none() {
            let missing = || AssemblyError::Datasource { pipeline: pipeline.name.clone(), datasource: name.clone() };
            return self.stores.get(name).cloned().ok_or_else(missing);
        }
        let own = self.datasources.get(name).cloned().unwrap_or_default();
        let datasource = Datasource {
            url: pipeline.prometheus_url.clone().or_else(|| own.url.clone()),
            write_url: pipeline.prometheus_write_url.clone().or_else(|| own.write_url.clone()),
            ..own.clone()
        };
        let foreign = Foreign { guard: &self.reading, own: &own };
        server(name, &datasource, (trust == Trust::Api).then_some(foreign))
    }

    /// Closes the embedded stores, so that the next opening is quick.
    pub fn close(&self) {
        for (_, store) in &self.embedded {
            if let Err(error) = store.close() {
                tracing::error!("{error}");
            }
        }
    }
}

fn metered<S>(inner: S, pipeline: &Pipeline, metrics: &Arc<Metrics>) -> MeteredStore<S> {
    let (pipeline, datasource) = (pipeline.name.clone(), pipeline.datasource.clone());
    MeteredStore { inner, metrics: metrics.clone(), pipeline, datasource }
}

/// What holds for a server whose URLs somebody has given over the API.
#[derive(Clone, Copy)]
struct Foreign<'a> {
    /// Looks at where they lead.
    guard: &'a Guard,
    /// The datasource that they stand in for.
    own: &'a Datasource,
}

impl Foreign<'_> {
    /// The datasource as it may be used at `url`: its credentials are for its own servers and for nobody else's.
    fn at(self, url: &str, datasource: &Datasource) -> Datasource {
        let origin = |url: &str| reqwest::Url::parse(url).ok().map(|url| url.origin());
        let is_own = origin(url).is_some_and(|found| self.own.urls().any(|url| origin(url).as_ref() == Some(&found)));
        if is_own {
            return datasource.clone();
        }
        let Datasource { timeout, gzip, takes_ahead, .. } = *datasource;
        Datasource { timeout, gzip, takes_ahead, ..Datasource::default() }
    }
}

/// The ports of a server.
fn server(name: &str, datasource: &Datasource, foreign: Option<Foreign<'_>>) -> Result<Store, AssemblyError> {
    let wrong = |source| AssemblyError::Client { datasource: name.into(), source };
    let url = datasource.url.clone().unwrap_or_default();
    let reading = connection(name, datasource, url.clone(), foreign)?;
    let writing = connection(name, datasource, datasource.write_url.clone().unwrap_or(url), foreign)?;
    // Jitter must differ between processes, so that they don't all come back at once.
    let seed = u64::from(std::process::id());
    let query = |connection: &Connection| QueryRange::new(connection, seed).map(Arc::new).map_err(wrong);
    let options = Options { takes_ahead: datasource.takes_ahead, ..Options::default() };
    // What takes samples, as vmagent or a distributor does, is often not what answers queries.
    let source = query(&reading)?;
    let written = match &datasource.read_back_url {
        Some(url) => query(&connection(name, datasource, url.clone(), foreign)?)?,
        None => source.clone(),
    };
    Ok(Store { source, sink: Arc::new(RemoteWrite::new(&writing, options).map_err(wrong)?), written })
}

fn connection(
    name: &str,
    datasource: &Datasource,
    url: String,
    foreign: Option<Foreign<'_>>,
) -> Result<Connection, AssemblyError> {
    let usable = foreign.map(|foreign| foreign.at(&url, datasource));
    let datasource = usable.as_ref().unwrap_or(datasource);
    let mut connection = Connection::new(url);
    connection.resolver = foreign.map(|foreign| Resolver(Arc::new(foreign.guard.clone())));
    connection.auth = auth(name, datasource)?;
    connection.tls = Tls {
        ca_file: datasource.tls.ca_file.clone(),
        cert_file: datasource.tls.cert_file.clone(),
        key_file: datasource.tls.key_file.clone(),
        insecure_skip_verify: datasource.tls.insecure_skip_verify,
    };
    let pairs = |map: &BTreeMap<String, String>| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    connection.headers = pairs(&datasource.headers);
    connection.params = pairs(&datasource.params);
    let account = datasource.tenant_id.clone().map(Tenant::VictoriaMetrics);
    connection.tenant = datasource.org_id.clone().map(Tenant::OrgId).or(account);
    connection.timeout = datasource.timeout.unwrap_or(connection.timeout);
    connection.gzip = datasource.gzip;
    Ok(connection)
}

fn auth(name: &str, datasource: &Datasource) -> Result<Auth, AssemblyError> {
    let secret = |path: &Path| {
        let wrong =
            |source| AssemblyError::Secret { datasource: name.into(), path: path.display().to_string(), source };
        std::fs::read_to_string(path).map(|text| text.trim_end().to_string()).map_err(wrong)
    };
    if let Some(basic) = &datasource.basic_auth {
        let password = basic.password_file.as_deref().map(secret).transpose()?;
        let password = password.unwrap_or_else(|| basic.password.clone());
        return Ok(Auth::Basic { username: basic.username.clone(), password });
    }
    let from_file = datasource.bearer_token_file.as_deref().map(secret).transpose()?;
    Ok(from_file.or(datasource.bearer_token.clone()).map_or(Auth::None, Auth::Bearer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::service::Egress;

    fn datasource() -> Datasource {
        Datasource {
            url: Some("https://vm.example:8428/base".into()),
            write_url: Some("http://vminsert.example".into()),
            bearer_token: Some("s3cret".into()),
            headers: BTreeMap::from([("X-Key".into(), "s3cret".into())]),
            params: BTreeMap::from([("extra_label".into(), "team=a".into())]),
            org_id: Some("team-a".into()),
            ..Datasource::default()
        }
    }

    #[test]
    fn credentials_go_to_the_datasource_s_own_servers_and_nowhere_else() {
        let own = datasource();
        let guard = Guard::new(&Egress::default(), own.urls()).unwrap();
        let check = |url: &str, is_own: bool| {
            let foreign = Foreign { guard: &guard, own: &own };
            let given = Datasource { url: Some(url.into()), ..own.clone() };
            let found = connection("a", &given, url.into(), Some(foreign)).unwrap();
            assert_eq!(found.auth == Auth::Bearer("s3cret".into()), is_own, "{url}");
            assert_eq!(found.headers.len() + found.params.len(), if is_own { 2 } else { 0 }, "{url}");
            assert_eq!(found.tenant.is_some(), is_own, "{url}");
            assert!(found.resolver.is_some(), "{url}");
        };
        check("https://vm.example:8428/other", true);
        check("https://VM.example:8428", true);
        check("http://vminsert.example:80/x", true);
        for other in [
            "http://vm.example:8428",
            "https://vm.example",
            "https://evil.example:8428",
            "https://vm.example.evil:8428",
        ] {
            check(other, false);
        }
        let trusted = connection("a", &own, "http://elsewhere".into(), None).unwrap();
        assert!(trusted.auth == Auth::Bearer("s3cret".into()) && trusted.resolver.is_none());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_asked() {
        let own = datasource();
        let guard = Guard::new(&Egress::default(), own.urls()).unwrap();
        let given = Datasource { url: Some("http://localhost:1".into()), write_url: None, ..own.clone() };
        let store = server("a", &given, Some(Foreign { guard: &guard, own: &own })).unwrap();
        let error = store.source.settles_after().await.unwrap_err().to_string();
        assert!(error.contains("not a public address"), "{error}");
    }
}
