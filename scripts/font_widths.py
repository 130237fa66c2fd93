"""How wide is a character at most, in the sans-serif families that viewers use?

Prints src/report/advances.rs: for each character the largest advance among the
given fonts, in thousandths of the font size, regular and bold. Needs fonttools.

    python3 scripts/font_widths.py REGULAR.ttf,… BOLD.ttf,… > src/report/advances.rs

The committed table is of DejaVu Sans 2.37 (stock Linux), Liberation Sans 1.07 (the
advances of Arial and Helvetica: Windows, macOS), Noto Sans, Roboto (Android), Open
Sans, Inter (GNOME; close to Apple's San Francisco), Cantarell and Lato.
"""

import math
import sys

from fontTools.ttLib import TTFont

ASCII = [chr(code) for code in range(0x20, 0x7F)]
LATIN = [chr(code) for code in range(0xA0, 0x180)]
SYMBOLS = list("–—‘’“”„†•…‖′″⁻⁰¹⁴₀₁₂€→←↑↓↔∂∆∏∑−√∞∥∫≈≠≤≥⌀■□▲△▼▽◆◇○●◯")
GREEK = [chr(code) for code in range(0x391, 0x3CA) if code != 0x3A2]


def advances(paths, characters):
    fonts = [TTFont(path) for path in paths]
    tables = [(font["head"].unitsPerEm, font.getBestCmap(), font["hmtx"]) for font in fonts]

    def widest(character):
        known = [hmtx[cmap[ord(character)]][0] / units for units, cmap, hmtx in tables if ord(character) in cmap]
        return math.ceil(1000 * max(known)) if known else 1000

    return [widest(character) for character in characters]


def array(values):
    lines = [values[start : start + 16] for start in range(0, len(values), 16)]
    return "\n".join("    " + ", ".join(map(str, line)) + "," for line in lines)


def main():
    regular, bold = (argument.split(",") for argument in sys.argv[1:])
    others = sorted(set(LATIN + SYMBOLS + GREEK))
    print("//! How wide is a character at most? Written by scripts/font_widths.py, which names")
    print("//! the fonts.")
    for name, paths in (("REGULAR", regular), ("BOLD", bold)):
        print(f"\n/// The characters U+0020 to U+007E, in thousandths of the font size.")
        print("#[rustfmt::skip]")
        print(f"pub(super) const ASCII_{name}: [u16; {len(ASCII)}] = [\n{array(advances(paths, ASCII))}\n];")
    print("\n/// Other characters in ascending order: the character, regular, bold.")
    print("#[rustfmt::skip]")
    print(f"pub(super) const OTHERS: [(char, u16, u16); {len(others)}] = [")
    rows = list(zip(others, advances(regular, others), advances(bold, others)))
    for start in range(0, len(rows), 6):
        print("    " + " ".join(f"('\\u{{{ord(c):x}}}', {r}, {b})," for c, r, b in rows[start : start + 6]))
    print("];")


main()
