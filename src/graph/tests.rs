//! Do shapes, gradients and routes follow from a graph?

use super::*;

const SAME: Conv = Conv {
    kernel: 3,
    stride: 1,
    padding: 1,
    groups: 1,
};

/// Two pre-activation blocks of one convolution each, and a head.
fn small(mode: Mode) -> (Graph, NodeId) {
    let mut graph = Graph::new(mode);
    let images = graph.images(3, 8, 8);
    let mut x = graph.conv("conv1", images, 4, SAME, false, Init::Zero).unwrap();
    for index in 0..2 {
        let name = format!("layer1.{index}");
        let branch = graph.scoped(&name, |g| {
            let y = g.batch_norm("bn1", x, 1e-5, 0.1);
            let y = g.relu(y);
            g.conv("conv1", y, 4, SAME, false, Init::Zero).unwrap()
        });
        let info = BlockInfo {
            name: &name,
            stage: 1,
            input: x,
            downsamples: false,
            default: Gains::RESIDUAL,
            relu: false,
        };
        x = graph.block(&info, branch, x).unwrap();
    }
    let pooled = graph.global_avg_pool(x);
    let logits = graph.linear("fc", pooled, 10, Init::Zero);
    let loss = graph.cross_entropy(logits);
    (graph, loss)
}

#[test]
fn shapes_and_counts_are_inferred() {
    let (graph, loss) = small(Mode::Train);
    assert_eq!(graph.shape(loss).to_string(), "N×2");
    let conv = 3 * 4 * 9 + 2 * 4 * 4 * 9;
    assert_eq!(graph.parameter_count(), conv + 2 * 8 + 40 + 10);
    assert_eq!(graph.macs(), (conv * 64 + 40) as u64);
    assert_eq!(graph.params[1].tensors()[0].0, "layer1.0.bn1.weight");
}

#[test]
fn every_parameter_gets_one_gradient_of_its_shape() {
    let (mut graph, loss) = small(Mode::Train);
    let gradients = graph.differentiate(loss, true, true);
    assert_eq!(gradients.params.len(), graph.params.len());
    for &(param, node) in &gradients.params {
        assert_eq!(graph.shape(node).dims, graph.params[param.0].dims);
    }
    let images = gradients.images.unwrap();
    assert_eq!(graph.shape(images), graph.shape(NodeId(0)));
}

#[test]
fn a_deleted_block_runs_neither_forward_nor_backward() {
    let (mut graph, loss) = small(Mode::Train);
    let gradients = graph.differentiate(loss, true, false);
    let mut wanted: Vec<NodeId> = gradients.params.iter().map(|&(_, node)| node).collect();
    wanted.push(loss);
    let full = Active::new(&graph, &graph.default_route(), &wanted, &[]);
    let route = graph.default_route().deleting(&[2]).unwrap();
    let lesioned = Active::new(&graph, &route, &wanted, &[]);
    let runs = |active: &Active, op: &str| {
        let of = |id: &NodeId| graph.node(*id).op.name() == op && active.runs(*id);
        graph.ids().filter(of).count()
    };
    for (op, all, left) in [
        ("conv", 3, 2),
        ("batch-stats", 2, 1),
        ("conv-grad-weight", 3, 2),
        ("conv-grad-input", 2, 1),
        ("batch-norm-grad", 2, 1),
        ("join", 2, 2),
    ] {
        assert_eq!((runs(&full, op), runs(&lesioned, op)), (all, left), "{op}");
    }
    let absent: Vec<&str> = gradients
        .params
        .iter()
        .filter(|(_, node)| !lesioned.present(*node))
        .map(|(param, _)| graph.params[param.0].name.as_str())
        .collect();
    assert_eq!(absent, ["layer1.1.bn1", "layer1.1.conv1"]);
}

#[test]
fn an_evaluation_can_continue_after_a_block_that_nothing_passes_by() {
    let (graph, _) = small(Mode::Eval);
    assert!(graph.is_resumable());
    // The second block reads what entered the first.
    let mut graph = Graph::new(Mode::Eval);
    let images = graph.images(3, 8, 8);
    let x = graph.conv("conv1", images, 4, SAME, false, Init::Zero).unwrap();
    let block = |name, input| ResidualBlock {
        name,
        stage: 1,
        input,
        relu: false,
    };
    let first = graph.residual(&block("a", x), |g| Ok((g.relu(x), x))).unwrap();
    graph.residual(&block("b", x), |g| Ok((g.relu(x), first))).unwrap();
    assert!(!graph.is_resumable());
}

#[test]
fn a_route_refuses_what_is_not_there() {
    let (graph, _) = small(Mode::Eval);
    let route = graph.default_route();
    assert!(route.clone().deleting(&[3]).is_err());
    assert!(route.clone().deleting(&[0]).is_err());
    let mut silent = route;
    silent.set(BlockId(0), Gains::both(0.0, 0.0));
    assert_eq!(silent.check(), Err(RouteError::Silent { number: 1 }));
}

#[test]
fn blocks_are_listed_by_number_range_and_name() {
    let (graph, _) = small(Mode::Eval);
    let parse = |list: &str| parse_blocks(list, &graph.blocks);
    assert_eq!(parse("2, 1").unwrap(), [1, 2]);
    assert_eq!(parse("1-2").unwrap(), [1, 2]);
    assert_eq!(parse("layer1.1").unwrap(), [2]);
    assert!(parse("3").is_err());
    assert!(parse("0-1").is_err());
    assert!(parse("layer9.0").is_err());
    assert!(parse("").is_err());
}

#[test]
fn misfits_are_errors() {
    let mut graph = Graph::new(Mode::Train);
    let x = graph.images(3, 4, 4);
    let large = Conv {
        kernel: 7,
        padding: 0,
        ..SAME
    };
    assert!(matches!(
        graph.conv("c", x, 4, large, false, Init::Zero),
        Err(GraphError::Window { .. })
    ));
    let outside = Pool {
        kernel: 3,
        stride: 1,
        padding: 2,
    };
    assert!(matches!(graph.max_pool(x, outside), Err(GraphError::Padding { .. })));
    let groups = Conv { groups: 2, ..SAME };
    assert!(matches!(
        graph.conv("c", x, 4, groups, false, Init::Zero),
        Err(GraphError::Groups { .. })
    ));
    assert!(matches!(graph.dropout(x, 1.0), Err(GraphError::Dropout { .. })));
    assert!(matches!(graph.slice(x, 2, 2), Err(GraphError::Slice { .. })));
}
