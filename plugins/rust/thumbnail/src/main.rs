//! Makes a small picture of a large one.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, ImageResult, Limits};
use jobwright_guest::{Job, JobError};

/// The default length of the longest side in pixels; the first argument overrides it.
const DEFAULT_SIDE: u32 = 160;

/// A larger thumbnail is not one.
const MAX_SIDE: u32 = 4096;

/// The longest accepted side. No camera exceeds it; only forged headers do.
const MAX_INPUT_SIDE: u32 = 16_384;

/// The memory limit of decoding: 13 megapixels of RGB, which leaves memory for the rest of the program
/// within the default limit of 64 MiB.
const MAX_DECODED_BYTES: u64 = 40 << 20;

#[jobwright_guest::job]
fn thumbnail(picture: Vec<u8>, job: &Job) -> Result<Vec<u8>, JobError> {
    let side = job.arg(0)?.unwrap_or(DEFAULT_SIDE);
    if !(1..=MAX_SIDE).contains(&side) {
        return Err(JobError::permanent(format!("side {side} is not 1 to {MAX_SIDE}")));
    }
    to_png(&shrink(&picture, side)?).map_err(JobError::permanent)
}

/// The picture with neither side above `side`; one that is small enough keeps its size.
fn shrink(bytes: &[u8], side: u32) -> Result<DynamicImage, JobError> {
    let undecodable = |error| JobError::permanent(format!("cannot decode the payload: {error}"));
    let mut decoder = open(bytes).map_err(undecodable)?;
    let size = decoder.total_bytes();
    if size > MAX_DECODED_BYTES {
        return Err(JobError::permanent(format!(
            "picture takes {size} bytes when decoded, the maximum is {MAX_DECODED_BYTES}"
        )));
    }
    let orientation = decoder.orientation().map_err(undecodable)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
    if picture.width().max(picture.height()) > side {
        picture = picture.thumbnail(side, side);
    }
    // Apply the orientation of the camera after scaling, as it needs the picture twice in memory.
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn open(bytes: &[u8]) -> ImageResult<impl ImageDecoder> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_INPUT_SIDE);
    limits.max_image_height = Some(MAX_INPUT_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    reader.limits(limits);
    reader.into_decoder()
}

fn to_png(picture: &DynamicImage) -> ImageResult<Vec<u8>> {
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        to_png(&DynamicImage::new_rgb8(width, height)).unwrap()
    }

    fn size_after(bytes: &[u8], side: u32) -> (u32, u32) {
        let small = shrink(bytes, side).unwrap();
        (small.width(), small.height())
    }

    #[test]
    fn the_longest_side_is_the_requested_one() {
        assert_eq!(size_after(&png(400, 200), 100), (100, 50));
        assert_eq!(size_after(&png(200, 400), 100), (50, 100));
        assert_eq!(size_after(&png(1000, 1), 100), (100, 1));
    }

    #[test]
    fn a_small_picture_is_not_enlarged() {
        assert_eq!(size_after(&png(30, 20), 100), (30, 20));
    }

    #[test]
    fn jpeg_is_read_too() {
        let mut jpeg = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(64, 32).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        assert_eq!(size_after(&jpeg.into_inner(), 16), (16, 8));
    }

    #[test]
    fn bytes_that_are_not_a_picture_are_an_error() {
        for bytes in [&b""[..], b"hello", &png(30, 20)[..60]] {
            assert!(!shrink(bytes, 10).unwrap_err().is_retry(), "{bytes:?}");
        }
    }

    #[test]
    fn a_header_that_claims_a_huge_picture_allocates_nothing() {
        let mut bytes = png(1, 1);
        // Width and height in the IHDR chunk; its checksum is made to fit.
        bytes[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        let crc = crc32(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&crc);
        let error = shrink(&bytes, 10).unwrap_err().to_string();
        assert!(error.starts_with("picture takes 805306368 bytes"), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }
}
