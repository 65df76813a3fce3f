//! Calendars as they are written, checked.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tsdb::Timestamp;

use super::check::{schedule, zone};
use super::document::quoted;
use super::duration::Show;
use super::raw::{RawCalendar, RawPipeline};
use super::read::{At, Field, Reader};
use crate::calendar::{Calendar, When};

/// The shortest window of a calendar that comes again.
const SHORTEST: Duration = Duration::from_secs(60);

/// What the calendars of `raw` say, whose times are those of `zone` where they have none of their own.
pub(super) fn calendars(raw: &RawPipeline, zone: &TimeZone, reader: &mut Reader) -> Option<Vec<Calendar>> {
    let raw = &raw.calendars.as_ref()?.value;
    let checked: Vec<Option<Calendar>> = raw.iter().map(|raw| calendar(raw, zone, reader)).collect();
    checked.into_iter().collect()
}

fn calendar(raw: &RawCalendar, pipeline_zone: &TimeZone, reader: &mut Reader) -> Option<Calendar> {
    let zone = match &raw.timezone {
        Some(_) => zone(&raw.timezone, reader)?,
        None => pipeline_zone.clone(),
    };
    let when = when(raw, &zone, reader);
    let matchers = raw.matchers.as_ref()?.value.0.iter().map(|matcher| matcher.value.clone()).collect();
    Some(Calendar { name: raw.name.as_ref()?.value.clone(), when: when?, matchers })
}

fn when(raw: &RawCalendar, zone: &TimeZone, reader: &mut Reader) -> Option<When> {
    let place = raw.name.as_ref()?;
    match (&raw.from, &raw.until, &raw.schedule, &raw.duration) {
        (Some(from), Some(until), None, None) => once(from, until, zone, reader),
        (None, None, Some(_), Some(length)) => {
            let times = schedule(&raw.schedule, zone, reader)?;
            let gap = times.largest_gap();
            let found = Show(length.value.0);
            if length.value.0 < SHORTEST {
                return reader.refuse_at(length, format!("found {found}; expected at least {}", Show(SHORTEST)));
            }
            if length.value.0 >= gap {
                let gap = Show(gap);
                return reader.refuse_at(
                    length,
                    format!("found {found}, but the next window begins {gap} later at the most, and nothing would ever be scored"),
                );
            }
            Some(When::Recurring { schedule: times, length: length.value.0 })
        }
        _ => {
            let written = [
                is(&raw.from, "from"),
                is(&raw.until, "until"),
                is(&raw.schedule, "schedule"),
                is(&raw.duration, "duration"),
            ];
            let written: Vec<&str> = written.into_iter().flatten().collect();
            let found =
                if written.is_empty() { "no time".to_owned() } else { format!("only {}", written.join(" and ")) };
            let found = if written.len() > 2 { written.join(", ") } else { found };
            // The name says which of the calendars it is, whether it is written or not.
            let field = place.field.trim_end_matches(".name").to_owned();
            let at = At { value: (), place: place.place, field, written: true };
            reader.refuse_at(&at, format!("has {found}; expected `from` and `until`, or `schedule` and `duration`"))
        }
    }
}

fn is<T>(field: &Field<T>, name: &'static str) -> Option<&'static str> {
    field.is_some().then_some(name)
}

fn once(from: &At<String>, until: &At<String>, zone: &TimeZone, reader: &mut Reader) -> Option<When> {
    let (first, end) = (moment(from, zone, reader), moment(until, zone, reader));
    let (first, end) = (first?, end?);
    if first < end {
        return Some(When::Once(first..end));
    }
    reader
        .refuse_at(until, format!("found {}, which is not after `from`, {}", quoted(&until.value), quoted(&from.value)))
}

/// The moment that a text means in `zone`.
fn moment(at: &At<String>, zone: &TimeZone, reader: &mut Reader) -> Option<Timestamp> {
    let text = at.value.trim();
    let told = text.parse::<jiff::Timestamp>().ok();
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp());
    match told.or_else(civil) {
        Some(time) => Some(Timestamp::from_millis(time.as_millisecond())),
        None => {
            let found = quoted(&at.value);
            reader.refuse_at(
                at,
                format!("found {found}; expected a date or a time such as 2026-12-24, 2026-12-24T18:00 or 2026-12-24T18:00:00Z"),
            )
        }
    }
}
