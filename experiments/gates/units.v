// Units that gates.py counts, in full, for an open synthesis: synthesise.py. Combinational.
// Floats have E bits of exponent and P of significand; NaN and infinity as in IEEE 754, rounding to
// nearest even. The adder keeps subnormals, the multiplier takes them as 0; no flags.

module float_adder #(parameter E = 8, P = 24)
    (input [E+P-1:0] a, input [E+P-1:0] b, output [E+P-1:0] y);
  localparam F = P - 1, W = P + 4, L = $clog2(W);
  // The larger magnitude first.
  wire swap = a[E+F-1:0] < b[E+F-1:0];
  wire [E+P-1:0] l = swap ? b : a, s = swap ? a : b;
  wire [E-1:0] el = l[E+F-1:F], es = s[E+F-1:F];
  wire hl = |el, hs = |es, subtract = l[E+P-1] ^ s[E+P-1];
  // Align; guard, round and sticky bits below.
  wire [E-1:0] d = (el - es) - (hl & ~hs);
  wire [P+2:0] ml = {hl, l[F-1:0], 3'b0}, ms = {hs, s[F-1:0], 3'b0};
  wire [P+2:0] shifted = ms >> d;
  wire sticky = |(ms & ~({(P+3){1'b1}} << d));
  wire [W-1:0] t = {1'b0, ml} + ({1'b0, shifted[P+2:1], shifted[0] | sticky} ^ {W{subtract}})
                   + subtract;
  // Leading one by halves, no further than the smallest exponent.
  reg [L-1:0] lz;
  reg [(1<<L)-1:0] x;
  integer j;
  always @* begin
    x = {t, {((1<<L)-W){1'b0}}};
    for (j = L - 1; j >= 0; j = j - 1) begin
      lz[j] = ~|(x >> ((1<<L) - (1<<j)));
      if (lz[j]) x = x << (1<<j);
    end
  end
  wire [E-1:0] least = {el[E-1:1], el[0] | ~hl};
  wire [E:0] above = {1'b0, least} + 1;
  wire subnormal = lz >= above | ~|t;
  wire [L-1:0] k = subnormal ? least : lz;
  wire [W-1:0] n = t << k;
  wire [E:0] e = subnormal ? 0 : above - lz;
  wire [E+P-1:0] r = {e, n[W-2:4]} + (n[3] & (|n[2:0] | n[4]));
  wire nan = (&el & |l[F-1:0]) | (&es & |s[F-1:0]) | (&el & &es & subtract);
  wire infinite = &el | &r[E+P-2:F] | r[E+P-1];
  assign y = nan ? {1'b0, {(E+1){1'b1}}, {(F-1){1'b0}}}
           : infinite ? {l[E+P-1], {E{1'b1}}, {F{1'b0}}} : {l[E+P-1] & |t, r[E+P-2:0]};
endmodule

module float_multiplier #(parameter E = 5, P = 11)
    (input [E+P-1:0] a, input [E+P-1:0] b, output [E+P-1:0] y);
  localparam F = P - 1, BIAS = (1 << (E-1)) - 1;
  wire [E-1:0] ea = a[E+F-1:F], eb = b[E+F-1:F];
  wire za = ~|ea, zb = ~|eb, ia = &ea, ib = &eb;
  wire [2*P-1:0] m = {~za, a[F-1:0]} * {~zb, b[F-1:0]};
  wire c = m[2*P-1];
  wire signed [E+1:0] e = $signed({2'b0, ea}) + $signed({2'b0, eb}) - BIAS + $signed({1'b0, c});
  wire [2*P-2:0] n = c ? m[2*P-1:1] : m[2*P-2:0];
  wire sticky = |n[F-2:0] | (c & m[0]);
  wire [E+F+1:0] r = {e, n[2*F-1:F]} + (n[F-1] & (sticky | n[F]));
  wire over = ~r[E+F+1] & (r[E+F] | &r[E+F-1:F]), under = r[E+F+1] | ~|r[E+F:F];
  wire nan = (ia & |a[F-1:0]) | (ib & |b[F-1:0]) | (ia & zb) | (ib & za);
  wire s = a[E+P-1] ^ b[E+P-1];
  assign y = nan ? {1'b0, {(E+1){1'b1}}, {(F-1){1'b0}}} : ia | ib | over ? {s, {E{1'b1}}, {F{1'b0}}}
           : za | zb | under ? {s, {(E+F){1'b0}}} : {s, r[E+F-1:0]};
endmodule

// Four terms of BitMoD: a is four FP16 numbers, b four terms of exponent (2 bits), bit, sign.
// Aligned to the largest exponent with three bits below, added up; that exponent on top.
module lane(input [15:0] a, input [3:0] b, input [5:0] top, output [5:0] e,
                 output signed [14:0] v);
  assign e = {1'b0, a[14:10]} + b[1:0];
  wire n = a[15] ^ b[3];
  wire [13:0] s = ({|a[14:10], a[9:0], 3'b0} & {14{b[2]}}) >> (top - e);
  assign v = ({15{n}} ^ {1'b0, s}) + n;
endmodule

module bitmod_four_terms(input [63:0] a, input [15:0] b, output [22:0] y);
  wire [5:0] e0, e1, e2, e3;
  wire signed [14:0] v0, v1, v2, v3;
  wire [5:0] m0 = e0 > e1 ? e0 : e1, m1 = e2 > e3 ? e2 : e3, top = m0 > m1 ? m0 : m1;
  lane l0(a[15:0], b[3:0], top, e0, v0);
  lane l1(a[31:16], b[7:4], top, e1, v1);
  lane l2(a[47:32], b[11:8], top, e2, v2);
  lane l3(a[63:48], b[15:12], top, e3, v3);
  wire signed [16:0] sum = (v0 + v1) + (v2 + v3);
  assign y = {top, sum};
endmodule

module int8_add(input [7:0] a, input [7:0] b, output [7:0] y);
  assign y = a + b;
endmodule
module int32_add(input [31:0] a, input [31:0] b, output [31:0] y);
  assign y = a + b;
endmodule
module int8_mul(input [7:0] a, input [7:0] b, output [15:0] y);
  assign y = a * b;
endmodule
module fp16_add(input [15:0] a, input [15:0] b, output [15:0] y);
  float_adder #(5, 11) unit(a, b, y);
endmodule
module fp32_add(input [31:0] a, input [31:0] b, output [31:0] y);
  float_adder #(8, 24) unit(a, b, y);
endmodule
module fp16_mul(input [15:0] a, input [15:0] b, output [15:0] y);
  float_multiplier #(5, 11) unit(a, b, y);
endmodule
module fp32_mul(input [31:0] a, input [31:0] b, output [31:0] y);
  float_multiplier #(8, 24) unit(a, b, y);
endmodule
