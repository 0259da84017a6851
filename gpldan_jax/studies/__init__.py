"""The tables and figures of the paper: comparison (Table 2), ablation (Table 3) and parameter grids (Figure 2)."""
