//! An Arrow file is looked over before it is decoded: the decoder believes the lengths that stand in it, and a damaged
//! or hostile one may ask for more memory than there is.

use arrow_ipc::{Block, MessageHeader, RecordBatch, root_as_footer, root_as_message};

/// At the end of the file: four bytes that say how long the footer is, and the six of the magic.
const TRAILER_BYTES: usize = 10;
/// At its beginning: the magic, padded.
const HEADER_BYTES: usize = 8;

/// Where buffers begin, as the format asks; the decoder panics over others.
const ALIGNMENT_BYTES: i64 = 8;

/// Checks that every length and place in `file` lies inside it, that nothing is there twice, and that all that is
/// compressed takes at most `limit` bytes when it no longer is.
///
/// # Errors
/// What is wrong.
pub(super) fn check(file: &[u8], limit: usize) -> Result<(), String> {
    let footer = footer(file)?;
    let mut left = limit;
    let mut blocks: Vec<Block> = vec![];
    blocks.extend(footer.dictionaries().into_iter().flatten());
    blocks.extend(footer.recordBatches().into_iter().flatten());
    blocks.sort_by_key(Block::offset);
    let mut end = HEADER_BYTES;
    for block in &blocks {
        let (message, body) = parts(file, block)?;
        let from = usize::try_from(block.offset()).unwrap_or(0);
        if from < end {
            return Err("two of its parts lie over each other".to_owned());
        }
        end = from + message.len() + body.len();
        let message = root_as_message(unframed(message)?).map_err(|error| format!("its message: {error}"))?;
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|found| found.data()),
            _ => None,
        };
        let batch = batch.ok_or("a part of it holds no rows")?;
        left = left.checked_sub(unpacked(&batch, body)?).ok_or(format!("it unpacks to more than {limit} bytes"))?;
    }
    Ok(())
}

fn footer(file: &[u8]) -> Result<arrow_ipc::Footer<'_>, String> {
    let trailer = file.len().checked_sub(TRAILER_BYTES).ok_or("it is too short")?;
    let length: [u8; 4] = file[trailer..][..4].try_into().map_err(|_| "it is too short")?;
    let length = usize::try_from(i32::from_le_bytes(length)).map_err(|_| "its footer's length is below zero")?;
    let from = trailer.checked_sub(length).filter(|from| *from >= HEADER_BYTES).ok_or("its end is missing")?;
    root_as_footer(&file[from..trailer]).map_err(|error| format!("its footer: {error}"))
}

/// The message and the body of a block.
fn parts<'a>(file: &'a [u8], block: &Block) -> Result<(&'a [u8], &'a [u8]), String> {
    let outside = || "a part of it lies outside".to_owned();
    if i64::from(block.metaDataLength()) % ALIGNMENT_BYTES != 0 {
        return Err("a part of it is not aligned".to_owned());
    }
    let place = |number: i64| usize::try_from(number).map_err(|_| outside());
    let rest = file.get(place(block.offset())?..).ok_or_else(outside)?;
    let (message, rest) = rest.split_at_checked(place(block.metaDataLength().into())?).ok_or_else(outside)?;
    Ok((message, rest.get(..place(block.bodyLength())?).ok_or_else(outside)?))
}

/// A message without its length, which since version 0.15 of the format stands behind four bytes of ones.
fn unframed(message: &[u8]) -> Result<&[u8], String> {
    let skip = if message.starts_with(&[0xff; 4]) { 8 } else { 4 };
    message.get(skip..).filter(|rest| rest.len() >= 4).ok_or_else(|| "a message in it is too short".to_owned())
}

/// How many bytes the buffers of a batch take when they are decompressed.
fn unpacked(batch: &RecordBatch<'_>, body: &[u8]) -> Result<usize, String> {
    let is_compressed = batch.compression().is_some();
    let mut total: usize = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        if buffer.offset() % ALIGNMENT_BYTES != 0 {
            return Err("a column of it is not aligned".to_owned());
        }
        let place = |number: i64| usize::try_from(number).ok();
        let bytes = place(buffer.offset()).and_then(|from| body.get(from..));
        let bytes = bytes.and_then(|rest| rest.get(..place(buffer.length())?)).ok_or("a column of it lies outside")?;
        let length = match bytes.first_chunk::<8>() {
            Some(length) if is_compressed => match i64::from_le_bytes(*length) {
                -1 => bytes.len() - 8,
                length => usize::try_from(length).map_err(|_| "a column's length is below zero")?,
            },
            None if is_compressed && !bytes.is_empty() => return Err("a column of it is too short".to_owned()),
            _ => bytes.len(),
        };
        total = total.checked_add(length).ok_or("a column's length is absurd")?;
    }
    let is_absurd = |length: i64| !(0..=1 << 40).contains(&length);
    let mut nodes = batch.nodes().into_iter().flatten();
    if is_absurd(batch.length()) || nodes.any(|node| is_absurd(node.length()) || is_absurd(node.null_count())) {
        return Err("its number of rows is absurd".to_owned());
    }
    Ok(total)
}
