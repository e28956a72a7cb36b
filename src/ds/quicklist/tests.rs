//! Long lists against a vector.

use proptest::prelude::*;

use super::*;

fn check(list: &Quicklist) {
    let mut len = 0;
    let all = list.chunks.iter().flat_map(|chunk| &chunk.nodes);
    let inner = all.take(list.node_count().saturating_sub(1)).skip(1);
    let gapped = |node: &Node| matches!(node.data, Data::Gapped(_));
    assert!(!inner.into_iter().any(gapped), "only the ends have gaps");
    for chunk in &list.chunks {
        assert!(!chunk.nodes.is_empty() && chunk.nodes.len() <= CHUNK_MAX);
        let mut held = 0;
        for node in &chunk.nodes {
            assert!(node.len > 0);
            assert_eq!(node.view().iter().count(), node.len);
            if let NodeRef::Packed(listpack) = node.view() {
                assert!(ListpackRef::parse(listpack.as_bytes()).is_ok());
            }
            held += node.len;
        }
        assert_eq!(held, chunk.len);
        len += held;
    }
    assert_eq!(len, list.len);
}

fn texts(list: &Quicklist) -> Vec<Vec<u8>> {
    list.iter().map(Item::to_vec).collect()
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u8..20).prop_map(|value| value.to_string().into_bytes()),
        4 => (0usize..200).prop_map(|len| vec![b'x'; len]),
        1 => (8100usize..8300).prop_map(|len| vec![b'y'; len]),
    ]
}

proptest! {
    #[test]
    fn changes_agree_with_vec(
        fill in prop_oneof![Just(-1), Just(-2), Just(1), Just(3), Just(20)],
        steps in prop::collection::vec((0u8..12, 0usize..1000, element()), 0..300),
    ) {
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut list = Quicklist::new(Fill::from_setting(fill), 0);
        for (kind, at, element) in steps {
            let at = if model.is_empty() { 0 } else { at % model.len() };
            match kind {
                0 | 1 => {
                    list.push(Side::Head, &element);
                    model.insert(0, element);
                }
                2 | 3 => {
                    list.push(Side::Tail, &element);
                    model.push(element);
                }
                4 => {
                    let popped = list.pop_with(Side::Head, |item| item.to_vec());
                    prop_assert_eq!(popped, (!model.is_empty()).then(|| model.remove(0)));
                }
                5 => prop_assert_eq!(list.pop_with(Side::Tail, |item| item.to_vec()), model.pop()),
                6 | 7 if !model.is_empty() => {
                    list.insert(at, Place::Before, &element);
                    model.insert(at, element);
                }
                8 | 9 if !model.is_empty() => {
                    list.insert(at, Place::After, &element);
                    model.insert(at + 1, element);
                }
                10 if !model.is_empty() => {
                    prop_assert!(list.set(at, &element));
                    model[at] = element;
                }
                11 if element.len() % 3 == 0 => {
                    let end = (at + element.len()).min(model.len());
                    prop_assert_eq!(list.remove_range(at, element.len()), end - at);
                    model.drain(at..end);
                }
                _ => {
                    let side = if at % 2 == 0 { Side::Head } else { Side::Tail };
                    let mut left = 2;
                    let mut keep = |text: &Vec<u8>| {
                        let gone = *text == element && left > 0;
                        left -= usize::from(gone);
                        !gone
                    };
                    if side == Side::Head {
                        model.retain(&mut keep);
                    } else {
                        model.reverse();
                        model.retain(&mut keep);
                        model.reverse();
                    }
                    prop_assert_eq!(list.remove_equal(side, &element, 2), 2 - left);
                }
            }
            check(&list);
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(list.get(at).map(Item::to_vec), model.get(at).cloned());
        }
        prop_assert_eq!(texts(&list), model.clone());
        let middle = model.len() / 3;
        let part: Vec<_> = list.range(middle, middle).map(Item::to_vec).collect();
        prop_assert_eq!(&part[..], &model[middle..2 * middle]);
    }
}

#[test]
fn long_lists_keep_their_chunks_in_order() {
    let mut list = Quicklist::new(Fill::Count(1), 0);
    let mut model = Vec::new();
    for value in 0..3000usize {
        let at = (value * 7919) % (model.len() + 1);
        let text = value.to_string().into_bytes();
        match at {
            0 => list.push(Side::Head, &text),
            at => list.insert(at - 1, Place::After, &text),
        }
        model.insert(at, text);
    }
    check(&list);
    assert_eq!(texts(&list), model);
    assert_eq!(list.node_count(), 3000);
    assert_eq!(list.remove_range(10, 2900), 2900);
    check(&list);
    model.drain(10..2910);
    assert_eq!(texts(&list), model);
}

proptest! {
    /// Lists of many nodes, whose ends have the room of a node.
    #[test]
    fn many_at_once_agree_with_deque(
        fill in prop_oneof![Just(-1), Just(-2), Just(-2), Just(-3), Just(40)],
        steps in prop::collection::vec((0u8..10, 1usize..700, 0usize..260), 1..24),
    ) {
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut list = Quicklist::new(Fill::from_setting(fill), 0);
        let mut last = 0u32;
        for (kind, many, width) in steps {
            let side = if kind % 2 == 0 { Side::Head } else { Side::Tail };
            let at = if model.is_empty() { 0 } else { many * 7919 % model.len() };
            match kind {
                0..6 => for _ in 0..many * 2 {
                    last += 1;
                    let element = format!("{last:0width$}").into_bytes();
                    list.push(side, &element);
                    match side {
                        Side::Head => model.push_front(element),
                        Side::Tail => model.push_back(element),
                    }
                }
                6 | 7 => for _ in 0..many {
                    let expected = match side {
                        Side::Head => model.pop_front(),
                        Side::Tail => model.pop_back(),
                    };
                    prop_assert_eq!(list.pop_with(side, |item| item.to_vec()), expected);
                }
                8 if !model.is_empty() => {
                    let place = if many % 2 == 0 { Place::Before } else { Place::After };
                    list.insert(at, place, b"between");
                    model.insert(at + usize::from(place == Place::After), b"between".to_vec());
                }
                _ => {
                    let end = (at + many / 3).min(model.len());
                    prop_assert_eq!(list.remove_range(at, many / 3), end - at);
                    model.drain(at..end);
                }
            }
            check(&list);
            check(&list.clone());
            prop_assert_eq!(list.get(at).map(Item::to_vec), model.get(at).cloned());
        }
        prop_assert!(model == texts(&list), "the same elements");
    }
}

#[test]
fn a_list_is_as_dense_whichever_end_it_grows_at() {
    let text = |value: usize| format!("{value:060}").into_bytes();
    let of = |sides: &[Side]| {
        let mut list = Quicklist::new(Fill::from_setting(-2), 0);
        for value in 0..6000 {
            list.push(sides[value % sides.len()], &text(value));
        }
        check(&list);
        list
    };
    let (mut head, mut tail) = (of(&[Side::Head]), of(&[Side::Tail]));
    assert_eq!(texts(&head), texts(&tail).into_iter().rev().collect::<Vec<_>>());
    // What the nodes of a row that is full would be, and one that has begun.
    let full = (8188 - EMPTY_LISTPACK) / Listpack::encoded_size(Item::of(&text(0)));
    for list in [&head, &tail, &of(&[Side::Head, Side::Tail])] {
        let nodes = list.node_count();
        assert!(nodes <= 6000 / full + 3, "{nodes} nodes");
        // As much as the elements, half a node at each end, and what the size classes leave.
        let bytes: usize =
            list.nodes().map(|node| node.iter().map(Item::text_len).sum::<usize>()).sum();
        assert!(list.memory_bytes() < bytes + bytes / 16 + 12_000, "{}", list.memory_bytes());
    }
    // Elements are taken out of a large node many at a time.
    for (side, list) in [(Side::Head, &mut head), (Side::Tail, &mut tail)] {
        let mut alone = 0;
        for value in (2500..6000).rev() {
            assert_eq!(list.pop_with(side, |item| item.to_vec()), Some(text(value)));
            let at = list.end(side).unwrap();
            alone += usize::from(matches!(list.node(at).data, Data::Packed(_)));
        }
        check(list);
        assert!(alone == 0, "the node was a listpack {alone} times");
    }
}

#[test]
fn changes_at_an_end_leave_no_small_nodes_behind() {
    for (side, index) in [(Side::Head, 0), (Side::Tail, usize::MAX)] {
        let mut list = Quicklist::new(Fill::from_setting(-2), 0);
        for value in 0..3000 {
            list.push(side, format!("{value:050}").as_bytes());
            let index = index.min(list.len() - 1);
            assert!(list.set(index, format!("{value:060}").as_bytes()));
        }
        check(&list);
        assert!(list.node_count() <= 3000 * 63 / GAP_FROM + 2, "{} nodes", list.node_count());
    }
}

#[test]
fn a_short_list_is_one_listpack_again_in_spite_of_its_ends() {
    for side in [Side::Head, Side::Tail] {
        let mut list = Quicklist::new(Fill::from_setting(-2), 0);
        (0..200).for_each(|value| list.push(side, format!("{value:060}").as_bytes()));
        assert!(list.take_single(4096, usize::MAX).is_none());
        (60..200).for_each(|_| assert!(list.pop_with(side.other(), |_| ()).is_some()));
        check(&list);
        assert!(list.take_single(4096, 59).is_none());
        assert!(list.take_single(3000, usize::MAX).is_none());
        let listpack = list.take_single(4096, 60).unwrap();
        assert!(list.is_empty() && list.node_count() == 0);
        let expected: Vec<_> =
            (140..200).map(|value| format!("{value:060}").into_bytes()).collect();
        let mut texts: Vec<_> = listpack.iter().map(Item::to_vec).collect();
        if side == Side::Head {
            texts.reverse();
        }
        assert_eq!(texts, expected);
    }
}

#[test]
fn small_plain_nodes_from_a_file_stay_nodes() {
    let mut list = Quicklist::new(Fill::from_setting(-2), 0);
    list.push_plain(Box::from(&b"x"[..]));
    list.push_plain(Box::from(&b""[..]));
    assert!(list.take_single(4096, 60).is_none());
    list.push(Side::Head, b"a");
    assert!(list.take_single(4096, 60).is_none());
    check(&list);
    assert_eq!(list.node_count(), 3);
}

#[test]
fn big_elements_are_plain_nodes() {
    let mut list = Quicklist::new(Fill::from_setting(-2), 0);
    list.push(Side::Tail, b"a");
    list.push(Side::Tail, &[b'x'; 8193]);
    list.push(Side::Tail, b"b");
    let kinds: Vec<_> = list.nodes().map(|node| matches!(node, NodeRef::Plain(_))).collect();
    assert_eq!(kinds, [false, true, false]);
}
