//! The pipelines of the demo, which come with the program.

use engine::Pipeline;
use engine::pipeline::PipelineErrors;
use models::Resources;
use tsdb::Labels;

use crate::preferred;

/// File names and texts, one pipeline a kind of metric.
const SHIPPED: [(&str, &str); 10] = [
    ("cpu.yaml", include_str!("../../../config/demo/cpu.yaml")),
    ("requests.yaml", include_str!("../../../config/demo/requests.yaml")),
    ("request_counter.yaml", include_str!("../../../config/demo/request_counter.yaml")),
    ("latency.yaml", include_str!("../../../config/demo/latency.yaml")),
    ("errors.yaml", include_str!("../../../config/demo/errors.yaml")),
    ("memory.yaml", include_str!("../../../config/demo/memory.yaml")),
    ("queue.yaml", include_str!("../../../config/demo/queue.yaml")),
    ("disk.yaml", include_str!("../../../config/demo/disk.yaml")),
    ("network.yaml", include_str!("../../../config/demo/network.yaml")),
    ("temperature.yaml", include_str!("../../../config/demo/temperature.yaml")),
];

/// All of them.
///
/// # Errors
/// One that is wrong, which a test excludes.
pub fn shipped() -> Result<Vec<Pipeline>, PipelineErrors> {
    SHIPPED.iter().map(|(name, text)| Pipeline::parse(text, name)).collect()
}

/// Gives the pipelines whose model can't be had here another one; says why, if there are any.
pub fn fit(mut pipelines: Vec<Pipeline>, resources: &Resources) -> (Vec<Pipeline>, Option<String>) {
    let mut instead = None;
    let (model, _) = preferred::choose(resources, |reason| instead = Some(reason));
    if instead.is_some() {
        let first = pipelines.iter_mut().filter(|pipeline| pipeline.model.id == preferred::FIRST);
        first.for_each(|pipeline| pipeline.model = model.clone());
    }
    (pipelines, instead)
}

/// Whether `pipeline` watches the series: its query names the series' metric.
pub fn watches(pipeline: &Pipeline, series: &Labels) -> bool {
    pipeline.query.contains(series.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_comes_with_the_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/demo");
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort();
        let mut shipped: Vec<_> = SHIPPED.iter().map(|(name, _)| std::ffi::OsString::from(name)).collect();
        shipped.sort();
        assert_eq!(files, shipped);
    }

    #[test]
    fn every_kind_of_series_has_one_pipeline() {
        let pipelines = shipped().unwrap();
        let step = tsdb::Step::from_millis(300_000).unwrap();
        for kind in data::SeriesKind::ALL {
            let series = Labels::metric(kind.metric());
            let own: Vec<_> = pipelines.iter().filter(|pipeline| watches(pipeline, &series)).collect();
            assert_eq!(own.len(), 1, "{series}");
            assert_eq!(own[0].step, step, "{series}");
            assert!(own[0].mode.scores());
        }
    }
}
