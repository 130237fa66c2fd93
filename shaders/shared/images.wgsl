// How many images does this dispatch write? The importing file declares GROUPS,
// DC, DH and DW, DEST_VEC4, and the bindings `dest` and `dest4` of the same
// memory, of which a program keeps only the one that it uses.
fn images() -> u32 {
    if (DEST_VEC4) { // static
        return arrayLength(&dest4) / (GROUPS * DC * DH * DW / 4u);
    } else {
        return arrayLength(&dest) / (GROUPS * DC * DH * DW);
    }
}
