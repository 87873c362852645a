//! Checksums made to fit, so that an input gets behind them: a mutation has one chance in four billion to hit the right
//! one. Written from `docs/storage.md` and `docs/protocol.md`, not with the code that reads these bytes.

/// Mends the checksum of each entry record, one after the other, as far as their lengths lead.
pub(crate) fn entries(mut bytes: &mut [u8]) {
    while let Some((prefix, rest)) = bytes.split_first_chunk_mut::<8>() {
        let [a, b, c, d, checksum @ ..] = prefix;
        let length = u32::from_le_bytes([*a, *b, *c, *d]);
        let Some((covered, next)) =
            usize::try_from(length).ok().and_then(|length| rest.split_at_mut_checked(length))
        else {
            return;
        };
        checksum.copy_from_slice(&crc32c::crc32c(covered).to_le_bytes());
        bytes = next;
    }
}

/// Mends length and checksum of a block of a state.
pub(crate) fn block(bytes: &mut [u8]) {
    if let Some((prefix, covered)) = bytes.split_first_chunk_mut::<8>() {
        let length = u32::try_from(covered.len()).unwrap_or(u32::MAX);
        let [a, b, c, d, checksum @ ..] = prefix;
        (*a, *b, *c, *d) = length.to_le_bytes().into();
        checksum.copy_from_slice(&crc32c::crc32c(covered).to_le_bytes());
    }
}

/// Mends the checksum of each block of a backup, as far as their lengths lead, and the sum in the last.
pub(crate) fn backup(bytes: &mut [u8]) {
    const END: u8 = 3;
    let mut at = 0;
    while let Some(prefix) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        let Some(end) = length.checked_add(8).and_then(|whole| at.checked_add(whole)) else { return };
        let (before, rest) = bytes.split_at_mut(at);
        let Some(this) = rest.get_mut(..end - at) else { return };
        if let Some([_, _, _, _, _, _, _, _, END, counts_and_sum @ ..]) = this.get_mut(..)
            && counts_and_sum.len() == 48
        {
            counts_and_sum[16..]
                .copy_from_slice(ring::digest::digest(&ring::digest::SHA256, before).as_ref());
        }
        block(this);
        at = end;
    }
}

/// Mends the checksums of the entries behind a peer frame's fields.
pub(crate) fn peer_frame(bytes: &mut [u8]) {
    const ENVELOPE: usize = 48;
    let Some([_, _, low, high]) = bytes.first_chunk() else { return };
    let fixed = usize::from(u16::from_le_bytes([*low, *high]));
    if let Some(tail) = bytes.get_mut(ENVELOPE + fixed..) {
        entries(tail);
    }
}
