extension SparsityReport {
  /// Light first, then a dark half that replaces colours only; series differ by dash and mark too.
  static let style = """
    :root {
      --ground: #fcfcfb; --ink: #0b0b0b; --quiet: #52514e; --grid: #e1e0d9; --base: #a3a29c;
      --panel: #ffffff; --edge: #deddd6;
      --s0: #2a78d6; --s1: #d2571f; --s2: #17936a; --s3: #7a4fc4; --s4: #9a6d00; --s5: #52514e;
    }
    @media (prefers-color-scheme: dark) {
      :root {
        --ground: #161615; --ink: #f6f6f4; --quiet: #c3c2b7; --grid: #33332f; --base: #6a6963;
        --panel: #1e1e1c; --edge: #393935;
        --s0: #5aa0f0; --s1: #f08a55; --s2: #35bd8e; --s3: #b39af4; --s4: #dcab30; --s5: #c3c2b7;
      }
    }
    * { box-sizing: border-box; }
    html { background: var(--ground); color: var(--ink); color-scheme: light dark; }
    body { margin: 0; font: 16px/1.5 system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif; }
    main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
    h1, h2, h3, h4 { line-height: 1.25; overflow-wrap: anywhere; text-wrap: balance; }
    h1 { font-size: 1.7rem; margin: 0 0 .5rem; }
    h2 { font-size: 1.4rem; margin: 3rem 0 .25rem; padding-top: 1rem; border-top: 2px solid var(--base); }
    h3 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; }
    h4 { font-size: 1rem; margin: 0 0 .25rem; }
    p { margin: 0 0 .5rem; max-width: 46rem; }
    .note { color: var(--quiet); overflow-wrap: anywhere; }
    figcaption .note { font-size: .875rem; }
    .warning { font-weight: 600; border-left: 4px solid var(--s1); padding-left: .75rem; }
    .figures {
      display: grid; gap: 1rem; margin-top: 1rem; align-items: start;
      grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr));
    }
    figure {
      margin: 0; padding: 1rem; min-width: 0; background: var(--panel);
      border: 1px solid var(--edge); border-radius: 8px;
    }
    figure svg { display: block; width: 100%; max-width: 36rem; height: auto; margin-top: .75rem; }
    details { margin-top: .75rem; font-size: .875rem; }
    summary { cursor: pointer; color: var(--quiet); }
    .wide { overflow-x: auto; margin-top: .5rem; }
    table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
    caption { text-align: left; color: var(--quiet); padding-bottom: .25rem; }
    th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--grid); white-space: nowrap; }
    th { font-weight: 600; vertical-align: bottom; }
    .number { text-align: right; } .word { text-align: left; }
    svg text { font: 13px system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif; }
    svg .label, svg .value { fill: var(--ink); } svg .value { font-weight: 600; }
    svg .note, svg .tick { fill: var(--quiet); }
    .grid { stroke: var(--grid); } .base { stroke: var(--base); }
    .track { fill: var(--grid); } .bar { fill: var(--s0); }
    .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
    .dot { stroke: var(--panel); stroke-width: 1; }
    .line.s0 { stroke: var(--s0); } .dot.s0 { fill: var(--s0); }
    .line.s1 { stroke: var(--s1); stroke-dasharray: 7 4; } .dot.s1 { fill: var(--s1); }
    .line.s2 { stroke: var(--s2); stroke-dasharray: 2 4; } .dot.s2 { fill: var(--s2); }
    .line.s3 { stroke: var(--s3); stroke-dasharray: 10 3 2 3; } .dot.s3 { fill: var(--s3); }
    .line.s4 { stroke: var(--s4); stroke-dasharray: 4 2; }
    .dot.s4 { fill: var(--panel); stroke: var(--s4); stroke-width: 2; }
    .line.s5 { stroke: var(--s5); stroke-dasharray: 1 3; } .dot.s5 { fill: var(--s5); }
    @media print { details { display: block; } figure { break-inside: avoid; } }

    """
}
