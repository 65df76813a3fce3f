//! Where results go, and in which form.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::{CliError, Terminal};

/// The form and the place of the result.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// The form of the result [default: by the name of --file, else table].
    #[arg(long, value_enum, value_name = "FORM")]
    output: Option<Form>,
    /// Writes the result to a file instead of stdout.
    #[arg(short = 'o', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many lines a table has at most; 0 for all.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// How many series are drawn [default: 3 in a terminal, 50 in HTML].
    #[arg(long, value_name = "N", conflicts_with = "no_chart")]
    charts: Option<usize>,
    /// Draws nothing.
    #[arg(long)]
    no_chart: bool,
}

/// The form of a result.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people, in a terminal.
    Table,
    /// A line a point.
    Csv,
    /// One object with everything.
    Json,
    /// A row a point.
    Parquet,
    /// A page with charts that needs nothing else.
    Html,
}

impl OutputArgs {
    /// The form that is asked for.
    ///
    /// # Errors
    /// Binary output to a terminal.
    pub fn form(&self, terminal: &Terminal) -> Result<Form, CliError> {
        let form = self.output.or_else(|| self.file.as_deref().and_then(by_name)).unwrap_or(Form::Table);
        if form == Form::Parquet && self.file.is_none() && terminal.interactive {
            return Err(CliError::Usage("Parquet is not for terminals: name a file with -o".into()));
        }
        Ok(form)
    }

    /// How many lines a table has at most.
    pub fn limit(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit }
    }

    /// How many series are drawn.
    pub fn charts(&self, form: Form) -> usize {
        let default = if form == Form::Html { 50 } else { 3 };
        if self.no_chart { 0 } else { self.charts.unwrap_or(default) }
    }

    /// Lets `write` write to the file, or to stdout where none is named.
    ///
    /// # Errors
    /// What `write` answers, and a file that can't be made.
    pub fn to(
        &self,
        terminal: &mut Terminal,
        write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
    ) -> Result<(), CliError> {
        let Some(path) = &self.file else { return Ok(write(&mut *terminal.out)?) };
        let failed = |source| CliError::File { path: path.clone(), source };
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        write(&mut file).and_then(|()| file.flush()).map_err(failed)
    }

    /// Whether results go to a file.
    pub fn to_file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

fn by_name(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(Form::Csv),
        "json" => Some(Form::Json),
        "parquet" | "pq" => Some(Form::Parquet),
        "html" | "htm" => Some(Form::Html),
        _ => None,
    }
}
