//! Draws the pictures of `models.d/cases/vision.yaml`, so that what they show is known exactly and no foreign picture
//! is needed. Drawing is integer arithmetic without randomness: every machine draws the same pixels.
//!
//! `cargo run -p harness --example draw_case_images` writes them; `-- --check` compares the committed files and fails
//! on a difference (so does this file's test). Pixels are compared, not bytes: another release of the encoder may pack
//! the same picture otherwise.

use std::{
    env,
    error::Error,
    fs::File,
    io::{BufReader, Write as _, stderr},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Width and height of every picture, in pixels: a multiple of the 28 pixels that vision towers take as one token.
const SIDE: i32 = 336;

type Rgb = [u8; 3];
/// Pixels from the left and from the top; for a size, width and height.
type Pair = (i32, i32);

const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [0, 0, 0];
const RED: Rgb = [214, 32, 32];
const GREEN: Rgb = [24, 150, 60];
const BLUE: Rgb = [32, 72, 210];
const ORANGE: Rgb = [245, 140, 20];
const PURPLE: Rgb = [130, 50, 170];

/// A square picture: rows from the top, three bytes a pixel.
#[derive(PartialEq)]
struct Canvas(Vec<u8>);

impl Canvas {
    /// A white picture.
    fn new() -> Self {
        Self((0..SIDE * SIDE).flat_map(|_| WHITE).collect())
    }

    /// Paints every pixel that `inside` accepts.
    fn fill(mut self, colour: Rgb, inside: impl Fn(i32, i32) -> bool) -> Self {
        let places = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
        for (pixel, (x, y)) in self.0.chunks_exact_mut(colour.len()).zip(places) {
            if inside(x, y) {
                pixel.copy_from_slice(&colour);
            }
        }
        self
    }

    fn disc(self, colour: Rgb, centre: Pair, radius: i32) -> Self {
        self.fill(colour, |x, y| {
            (x - centre.0).pow(2) + (y - centre.1).pow(2) <= radius.pow(2)
        })
    }

    fn rectangle(self, colour: Rgb, (left, top): Pair, (width, height): Pair) -> Self {
        self.fill(colour, |x, y| {
            (left..left + width).contains(&x) && (top..top + height).contains(&y)
        })
    }

    fn square(self, colour: Rgb, corner: Pair, side: i32) -> Self {
        self.rectangle(colour, corner, (side, side))
    }

    /// An upright triangle with its tip above the middle of its base.
    fn triangle(self, colour: Rgb, (left, top): Pair, (width, height): Pair) -> Self {
        self.fill(colour, |x, y| {
            let depth = y - top;
            let from_axis = (2 * (x - left) - width).abs();
            (0..height).contains(&depth) && from_axis * height <= depth * width
        })
    }

    /// A line of text in a 5 x 7 font, each dot a square of `dot` pixels, one empty column between letters.
    fn text(self, line: &str, (left, top): Pair, dot: i32) -> Self {
        (0..).zip(line.chars()).fold(self, |canvas, (column, letter)| {
            let rows = glyph(letter);
            let start = left + column * 6 * dot;
            canvas.fill(BLACK, |x, y| {
                let (x, y) = ((x - start).div_euclid(dot), (y - top).div_euclid(dot));
                let row = usize::try_from(y).ok().and_then(|y| rows.get(y));
                (0..5).contains(&x) && row.is_some_and(|row| row >> (4 - x) & 1 == 1)
            })
        })
    }

    /// One digit of a seven-segment display, 52 x 104 pixels.
    fn seven_segments(self, digit: char, (left, top): Pair) -> Self {
        const FLAT: Pair = (52, 10);
        const UPRIGHT: Pair = (10, 52);
        // Place and size of each segment, by its usual letter.
        let segment = |name| match name {
            'a' => ((0, 0), FLAT),
            'b' => ((42, 0), UPRIGHT),
            'c' => ((42, 52), UPRIGHT),
            'd' => ((0, 94), FLAT),
            'e' => ((0, 52), UPRIGHT),
            'f' => ((0, 0), UPRIGHT),
            _ => ((0, 47), FLAT),
        };
        let lit = match digit {
            '0' => "abcdef",
            '2' => "abged",
            '4' => "fgbc",
            '7' => "abc",
            _ => "abcdefg",
        };
        lit.chars().map(segment).fold(self, |canvas, ((x, y), size)| {
            canvas.rectangle(RED, (left + x, top + y), size)
        })
    }
}

/// Rows of a letter, five bits each, the leftmost dot highest; a full block for what no picture writes.
const fn glyph(letter: char) -> [u8; 7] {
    match letter {
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        '7' => [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
        '+' => [0b00000, 0b00100, 0b00100, 0b11111, 0b00100, 0b00100, 0b00000],
        'A' => [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
        'B' => [0b11110, 0b10001, 0b10001, 0b11110, 0b10001, 0b10001, 0b11110],
        'C' => [0b01110, 0b10001, 0b10000, 0b10000, 0b10000, 0b10001, 0b01110],
        'D' => [0b11110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b11110],
        'E' => [0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111],
        'L' => [0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111],
        'N' => [0b10001, 0b11001, 0b10101, 0b10011, 0b10001, 0b10001, 0b10001],
        'R' => [0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001],
        'T' => [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100],
        _ => [0b11111; 7],
    }
}

/// Every picture with the name of its file.
fn pictures() -> Vec<(&'static str, Canvas)> {
    let blank = Canvas::new;
    vec![
        ("red_circle", blank().disc(RED, (168, 168), 90)),
        ("blue_square", blank().square(BLUE, (83, 83), 170)),
        ("green_triangle", blank().triangle(GREEN, (68, 78), (200, 180))),
        ("five_discs", five_discs()),
        ("three_red_four_blue", three_red_four_blue()),
        (
            "circle_left_of_square",
            blank().disc(RED, (88, 168), 60).square(BLUE, (198, 113), 110),
        ),
        ("dot_top_right", blank().disc(BLACK, (286, 50), 28)),
        (
            "large_orange_small_purple",
            blank().square(ORANGE, (30, 60), 190).disc(PURPLE, (282, 270), 26),
        ),
        ("bars", bars()),
        ("display_7042", display_7042()),
        ("word_lantern", blank().text("LANTERN", (24, 143), 7)),
        ("sum_27_plus_15", blank().text("27+15", (38, 136), 9)),
    ]
}

fn five_discs() -> Canvas {
    [(70, 80), (250, 66), (150, 170), (60, 270), (270, 250)]
        .into_iter()
        .fold(Canvas::new(), |canvas, centre| canvas.disc(BLACK, centre, 26))
}

fn three_red_four_blue() -> Canvas {
    let red = [(40, 40), (230, 120), (60, 240)].map(|corner| (RED, corner));
    let blue = [(140, 50), (250, 30), (130, 160), (210, 250)].map(|corner| (BLUE, corner));
    red.into_iter()
        .chain(blue)
        .fold(Canvas::new(), |canvas, (colour, corner)| {
            canvas.square(colour, corner, 50)
        })
}

/// Four bars on a base line with their letters below; C is the tallest.
fn bars() -> Canvas {
    const BASE: i32 = 270;
    let base_line = Canvas::new().rectangle(BLACK, (24, BASE), (288, 4));
    let bars = (0..).zip([("A", 90), ("B", 150), ("C", 220), ("D", 60)]);
    bars.fold(base_line, |canvas, (place, (letter, height))| {
        let left = 40 + place * 70;
        canvas
            .rectangle(BLUE, (left, BASE - height), (44, height))
            .text(letter, (left + 12, BASE + 16), 4)
    })
}

fn display_7042() -> Canvas {
    (0..)
        .zip("7042".chars())
        .fold(Canvas::new(), |canvas, (place, digit)| {
            canvas.seven_segments(digit, (28 + place * 76, 116))
        })
}

fn path_of(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models.d/cases/images");
    folder.join(name).with_extension("png")
}

fn write(path: &Path, canvas: &Canvas) -> Result<(), Box<dyn Error>> {
    let side = SIDE.unsigned_abs();
    let mut encoder = png::Encoder::new(File::create(path)?, side, side);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&canvas.0)?;
    Ok(writer.finish()?)
}

fn read(path: &Path) -> Result<Canvas, Box<dyn Error>> {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("the picture is too large")?];
    let info = reader.next_frame(&mut pixels)?;
    pixels.truncate(info.buffer_size());
    Ok(Canvas(pixels))
}

/// What is wrong with the committed pictures: absent, unreadable, or other than drawn. Empty where all is well.
fn differences() -> Vec<String> {
    let wrong = |(name, canvas)| match read(&path_of(name)) {
        Ok(committed) if committed == canvas => None,
        Ok(_) => Some(format!("{name}.png shows something else than is drawn")),
        Err(error) => Some(format!("{name}.png: {error}")),
    };
    pictures().into_iter().filter_map(wrong).collect()
}

/// Writes every picture; says which could not be written.
fn draw() -> Vec<String> {
    let failed = |(name, canvas): (&str, Canvas)| {
        let error = write(&path_of(name), &canvas).err()?;
        Some(format!("{}: {error}", path_of(name).display()))
    };
    pictures().into_iter().filter_map(failed).collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let complaints = match arguments.as_slice() {
        [] => draw(),
        [flag] if flag == "--check" => differences(),
        _ => vec!["usage: draw_case_images [--check]".to_owned()],
    };
    if complaints.is_empty() {
        return ExitCode::SUCCESS;
    }
    // Where even the error stream is gone, the exit code alone must do.
    _ = writeln!(stderr(), "{}", complaints.join("\n"));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_pictures_are_as_drawn() {
        assert_eq!(differences(), Vec::<String>::new());
    }

    #[test]
    fn no_two_pictures_are_alike() {
        let pictures = pictures();
        for (index, (name, canvas)) in pictures.iter().enumerate() {
            let twin = pictures[..index].iter().find(|(_, other)| other == canvas);
            assert!(twin.is_none(), "{name} equals {:?}", twin.map(|(name, _)| name));
        }
    }
}
