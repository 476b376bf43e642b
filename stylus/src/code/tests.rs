#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 256 * 1024;

fn root(len: u32, fragments: &[Address]) -> Vec<u8> {
    let mut code = vec![0xef, 0xf0, 2, 0];
    code.extend(len.to_be_bytes());
    fragments.iter().for_each(|address| code.extend(address.as_slice()));
    code
}

/// A module's stream, cut into codes of fragments.
fn fragments(wasm: &[u8], size: usize) -> Vec<Vec<u8>> {
    let code = compress(wasm).unwrap();
    code[4..]
        .chunks(size)
        .map(|part| [&[0xef, 0xf0, 1], part].concat())
        .collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(step).collect()
}

#[test]
fn prefixes() {
    assert_eq!(kind(&[0xef, 0xf0, 0, 1]), Some(CodeKind::Classic { dictionary: 1 }));
    assert_eq!(kind(&[0xef, 0xf0, 1, 9]), Some(CodeKind::Fragment));
    assert_eq!(kind(&[0xef, 0xf0, 2, 0]), Some(CodeKind::Root));
    for not in [
        &[][..],
        &[0xef, 0xf0, 0],
        &[0xef, 0xf0, 3, 0],
        &[0xef, 0x01, 0, 0],
        &[0x60, 0, 0, 0],
    ] {
        assert_eq!(kind(not), None);
    }
    let classic = CodeKind::Classic { dictionary: 0 };
    assert!(classic.is_executable() && CodeKind::Root.is_executable() && !CodeKind::Fragment.is_executable());
    assert!(classic.is_known(30) && !classic.is_known(29));
    assert!(CodeKind::Root.is_known(60) && !CodeKind::Root.is_known(59) && !CodeKind::Fragment.is_known(59));
}

#[test]
fn the_prelude_is_43_bytes_and_deploys_the_code() {
    let code = vec![0xab; 0x1234];
    let init = init_code(&code);
    let mut expected = vec![0x7f];
    expected.extend([0; 30]);
    expected.extend([0x12, 0x34, 0x80, 0x60, 0x2b, 0x60, 0x00, 0x39, 0x60, 0x00, 0xf3, 0x00]);
    assert_eq!(expected.len(), 45 - 2);
    assert_eq!(init[..43], expected);
    assert_eq!(init[43..], code);
}

#[test]
fn output_stops_at_the_limit() {
    let code = compress(&vec![0; LIMIT]).unwrap();
    assert!(code.len() < 100);
    assert_eq!(decompress(&code, LIMIT).unwrap().len(), LIMIT);
    assert!(matches!(decompress(&code, LIMIT - 1), Err(CodeError::TooLarge { max }) if max == LIMIT - 1));
    let bomb = compress(&vec![0; 4 << 20]).unwrap();
    assert!(matches!(decompress(&bomb, LIMIT), Err(CodeError::TooLarge { .. })));
}

#[test]
fn broken_streams_are_refused() {
    let code = compress(&noise(2_000)).unwrap();
    assert!(matches!(
        decompress(&code[..code.len() - 1], LIMIT),
        Err(CodeError::Stream("cut short"))
    ));
    assert!(matches!(
        decompress(&[0xef, 0xf0, 0, 0], LIMIT),
        Err(CodeError::Stream("cut short"))
    ));
    assert!(matches!(
        decompress(&[0xef, 0xf0, 0, 0, 0xff, 0xff, 0xff], LIMIT),
        Err(CodeError::Stream(_))
    ));
    assert!(matches!(
        decompress(&[0xef, 0xf0, 0, 1, 0x06], LIMIT),
        Err(CodeError::Dictionary(1))
    ));
    assert!(matches!(decompress(&[0x60, 0x00], LIMIT), Err(CodeError::NotStylus)));
    assert!(matches!(
        decompress(&[0xef, 0xf0, 1, 0], LIMIT),
        Err(CodeError::WrongKind { .. })
    ));
    // large windows would let six bits of the header ask for a gigabyte
    let large_window = [0xef, 0xf0, 0, 0, 0x11, 0x1e, 0x03];
    assert!(matches!(
        decompress(&large_window, LIMIT),
        Err(CodeError::Stream("corrupt"))
    ));
}

#[test]
fn bytes_after_the_stream_are_ignored() {
    let mut code = compress(b"module").unwrap();
    code.extend([1, 2, 3]);
    assert_eq!(decompress(&code, LIMIT).unwrap(), b"module");
}

#[test]
fn a_root_joins_its_fragments() {
    let wasm = noise(50_000);
    let codes = fragments(&wasm, 24_573);
    assert_eq!(codes.len(), 3);
    let addresses = [
        Address::repeat_byte(1),
        Address::repeat_byte(2),
        Address::repeat_byte(3),
    ];
    let params = Params::default();
    let parsed = Root::parse(&root(50_000, &addresses), &params).unwrap();
    assert_eq!(parsed.fragments, addresses);
    assert_eq!(parsed.decompress(&codes).unwrap(), wasm);

    for len in [49_999, 50_001] {
        let other = Root::parse(&root(len, &addresses), &params).unwrap();
        assert!(other.decompress(&codes).is_err());
    }
    assert!(parsed.decompress(&codes[..2]).is_err());
    let swapped = [&codes[1], &codes[0], &codes[2]];
    assert!(parsed.decompress(&swapped).is_err());
    let classic = [&codes[0], &codes[1], &compress(&wasm).unwrap()];
    assert!(matches!(parsed.decompress(&classic), Err(CodeError::WrongKind { .. })));
}

#[test]
fn malformed_roots() {
    let params = Params::default();
    let address = Address::repeat_byte(1);
    let parse = |code: &[u8]| Root::parse(code, &params);
    assert!(parse(&root(100, &[address; 4])).is_ok());
    assert!(matches!(parse(&root(100, &[address; 5])), Err(CodeError::Root(_))));
    assert!(matches!(parse(&root(100, &[])), Err(CodeError::Root(_))));
    assert!(matches!(parse(&root(100, &[address])[..27]), Err(CodeError::Root(_))));
    assert!(matches!(parse(&[0xef, 0xf0, 2, 0, 0, 0, 1]), Err(CodeError::Root(_))));
    assert!(matches!(
        parse(&root(262_145, &[address])),
        Err(CodeError::TooLarge { .. })
    ));
    let mut dictionary = root(100, &[address]);
    dictionary[3] = 1;
    assert!(matches!(parse(&dictionary), Err(CodeError::Dictionary(1))));
    assert!(matches!(
        Root::parse(&root(100, &[address]), &Params::for_arbos(59)),
        Err(CodeError::Root(_))
    ));
}

proptest! {
    #[test]
    fn what_is_compressed_comes_back(wasm in prop::collection::vec(any::<u8>(), 0..4_000)) {
        prop_assert_eq!(decompress(&compress(&wasm).unwrap(), LIMIT).unwrap(), wasm);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = kind(&bytes);
        let code = [&[0xef, 0xf0, 0, 0][..], &bytes].concat();
        if let Ok(wasm) = decompress(&code, 1_000) {
            prop_assert!(wasm.len() <= 1_000);
        }
        let _ = Root::parse(&[&[0xef, 0xf0, 2, 0][..], &bytes].concat(), &Params::default());
    }

    #[test]
    fn changed_streams_never_panic(at in any::<prop::sample::Index>(), byte: u8, seed in 0..64_usize) {
        let mut code = compress(&noise(300 + seed * 10)).unwrap();
        let at = at.index(code.len());
        code[at] = byte;
        if let Ok(wasm) = decompress(&code, 2_000) {
            prop_assert!(wasm.len() <= 2_000);
        }
    }
}
