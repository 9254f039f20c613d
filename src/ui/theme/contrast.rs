//! What the common terminals make of the sixteen colours, and that less important text can be read in all of them.

use ratatui::style::{Color, Modifier};

use super::{Role, Theme, ThemeName};

/// A terminal's colours: ground, letters, then the sixteen.
struct Scheme {
    name: &'static str,
    light: bool,
    ground: u32,
    ink: u32,
    colors: [u32; 16],
}

#[rustfmt::skip]
const SCHEMES: [Scheme; 8] = [
    Scheme { name: "xterm", light: false, ground: 0x0000_0000, ink: 0x00e5_e5e5, colors: [
        0x0000_0000, 0x00cd_0000, 0x0000_cd00, 0x00cd_cd00, 0x0000_00ee, 0x00cd_00cd, 0x0000_cdcd, 0x00e5_e5e5,
        0x007f_7f7f, 0x00ff_0000, 0x0000_ff00, 0x00ff_ff00, 0x005c_5cff, 0x00ff_00ff, 0x0000_ffff, 0x00ff_ffff] },
    Scheme { name: "Solarized Dark", light: false, ground: 0x0000_2b36, ink: 0x0083_9496, colors: SOLARIZED },
    Scheme { name: "Gruvbox Dark", light: false, ground: 0x0028_2828, ink: 0x00eb_dbb2, colors: [
        0x0028_2828, 0x00cc_241d, 0x0098_971a, 0x00d7_9921, 0x0045_8588, 0x00b1_6286, 0x0068_9d6a, 0x00a8_9984,
        0x0092_8374, 0x00fb_4934, 0x00b8_bb26, 0x00fa_bd2f, 0x0083_a598, 0x00d3_869b, 0x008e_c07c, 0x00eb_dbb2] },
    Scheme { name: "Dracula", light: false, ground: 0x0028_2a36, ink: 0x00f8_f8f2, colors: [
        0x0021_222c, 0x00ff_5555, 0x0050_fa7b, 0x00f1_fa8c, 0x00bd_93f9, 0x00ff_79c6, 0x008b_e9fd, 0x00f8_f8f2,
        0x0062_72a4, 0x00ff_6e6e, 0x0069_ff94, 0x00ff_ffa5, 0x00d6_acff, 0x00ff_92df, 0x00a4_ffff, 0x00ff_ffff] },
    Scheme { name: "Nord", light: false, ground: 0x002e_3440, ink: 0x00d8_dee9, colors: [
        0x003b_4252, 0x00bf_616a, 0x00a3_be8c, 0x00eb_cb8b, 0x0081_a1c1, 0x00b4_8ead, 0x0088_c0d0, 0x00e5_e9f0,
        0x004c_566a, 0x00bf_616a, 0x00a3_be8c, 0x00eb_cb8b, 0x0081_a1c1, 0x00b4_8ead, 0x008f_bcbb, 0x00ec_eff4] },
    Scheme { name: "black on white", light: true, ground: 0x00ff_ffff, ink: 0x0000_0000, colors: [
        0x0000_0000, 0x00cd_0000, 0x0000_cd00, 0x00cd_cd00, 0x0000_00ee, 0x00cd_00cd, 0x0000_cdcd, 0x00e5_e5e5,
        0x007f_7f7f, 0x00ff_0000, 0x0000_ff00, 0x00ff_ff00, 0x005c_5cff, 0x00ff_00ff, 0x0000_ffff, 0x00ff_ffff] },
    Scheme { name: "Solarized Light", light: true, ground: 0x00fd_f6e3, ink: 0x0065_7b83, colors: SOLARIZED },
    Scheme { name: "Gruvbox Light", light: true, ground: 0x00fb_f1c7, ink: 0x003c_3836, colors: [
        0x00fb_f1c7, 0x00cc_241d, 0x0098_971a, 0x00d7_9921, 0x0045_8588, 0x00b1_6286, 0x0068_9d6a, 0x007c_6f64,
        0x0092_8374, 0x009d_0006, 0x0079_740e, 0x00b5_7614, 0x0007_6678, 0x008f_3f71, 0x0042_7b58, 0x003c_3836] },
];

const SOLARIZED: [u32; 16] = [
    0x0007_3642,
    0x00dc_322f,
    0x0085_9900,
    0x00b5_8900,
    0x0026_8bd2,
    0x00d3_3682,
    0x002a_a198,
    0x00ee_e8d5,
    0x0000_2b36,
    0x00cb_4b16,
    0x0058_6e75,
    0x0065_7b83,
    0x0083_9496,
    0x006c_71c4,
    0x0093_a1a1,
    0x00fd_f6e3,
];

/// The least contrast at which text is read without effort (WCAG's bound for large text and signs).
const READABLE: f64 = 3.0;
/// What is left of the letters' colour in the terminal that dims the most.
const FAINT: f64 = 0.4;

impl Scheme {
    fn color(&self, color: Option<Color>, plain: u32) -> u32 {
        let at = match color {
            None | Some(Color::Reset) => return plain,
            Some(Color::Black) => 0,
            Some(Color::Red) => 1,
            Some(Color::Green) => 2,
            Some(Color::Yellow) => 3,
            Some(Color::Blue) => 4,
            Some(Color::Magenta) => 5,
            Some(Color::Cyan) => 6,
            Some(Color::Gray) => 7,
            Some(Color::DarkGray) => 8,
            Some(Color::LightRed) => 9,
            Some(Color::LightGreen) => 10,
            Some(Color::LightYellow) => 11,
            Some(Color::LightBlue) => 12,
            Some(Color::LightMagenta) => 13,
            Some(Color::LightCyan) => 14,
            Some(Color::White) => 15,
            Some(other) => panic!("{other} is none of the sixteen"),
        };
        self.colors[at]
    }

    fn contrast(&self, theme: Theme, role: Role) -> f64 {
        let style = theme.style(role);
        let ground = parts(self.color(style.bg, self.ground));
        let mut ink = parts(self.color(style.fg, self.ink));
        if style.add_modifier.contains(Modifier::DIM) {
            for (ink, ground) in ink.iter_mut().zip(ground) {
                *ink = *ink * FAINT + ground * (1.0 - FAINT);
            }
        }
        let (one, other) = (luminance(ink), luminance(ground));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }
}

fn parts(color: u32) -> [f64; 3] {
    let [_, red, green, blue] = color.to_be_bytes();
    [red, green, blue].map(f64::from)
}

fn luminance(color: [f64; 3]) -> f64 {
    let linear = color.map(|part| {
        let part = part / 255.0;
        if part <= 0.040_45 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[test]
fn less_important_text_can_be_read_on_every_common_ground() {
    for scheme in &SCHEMES {
        for setting in ThemeName::ALL {
            for color in [true, false] {
                // With and without a word of the terminal about its ground.
                for told in [false, scheme.light] {
                    let theme = Theme {
                        name: setting.on(told),
                        ascii: false,
                        color,
                    };
                    for role in [Role::Text, Role::Dim] {
                        let contrast = scheme.contrast(theme, role);
                        assert!(
                            contrast >= READABLE,
                            "{} {setting:?} {role:?}: {contrast:.2}",
                            scheme.name
                        );
                    }
                }
            }
        }
    }
}

/// What a light theme says in colour is read on every light ground.
#[test]
fn every_colour_of_the_light_theme_can_be_read_on_light_grounds() {
    let theme = Theme {
        name: ThemeName::Light,
        ascii: false,
        color: true,
    };
    for scheme in SCHEMES.iter().filter(|scheme| scheme.light) {
        for role in [Role::Good, Role::Warn, Role::Bad, Role::Key, Role::Chart] {
            let contrast = scheme.contrast(theme, role);
            let name = scheme.name;
            assert!(contrast >= READABLE, "{name} {role:?}: {contrast:.2}");
        }
    }
}

/// Why no grey of the palette is used for text: the measure finds what was seen on real screens.
#[test]
fn the_measure_knows_a_grey_that_vanishes() {
    let scheme = &SCHEMES[1];
    let grey = parts(scheme.color(Some(Color::DarkGray), 0));
    assert!((luminance(grey) - luminance(parts(scheme.ground))).abs() < 1e-9);
}
