;; The functions of products.js with SIMD instructions. Assembled by tools/wasm.mjs. Offsets are in bytes.
(module
  (import "engine" "memory" (memory 1))

  ;; C = A · B + bias, limited to the range from floor to ceiling. Tiles of 4 rows and 8 columns: eight sums, two values of
  ;; B and one of A are in registers.
  (func (export "multiply")
    (param $a i32) (param $b i32) (param $bias i32) (param $c i32)
    (param $rows i32) (param $depth i32) (param $columns i32) (param $floor f32) (param $ceiling f32)
    (local $panel i32) (local $row i32) (local $k i32) (local $pb i32) (local $pc i32)
    (local $a0 i32) (local $a1 i32) (local $a2 i32) (local $a3 i32)
    (local $aStep i32) (local $cStep i32) (local $panelBytes i32)
    (local $low v128) (local $high v128) (local $w0 v128) (local $w1 v128) (local $x v128)
    (local $bias0 v128) (local $bias1 v128)
    (local $s00 v128) (local $s01 v128) (local $s10 v128) (local $s11 v128)
    (local $s20 v128) (local $s21 v128) (local $s30 v128) (local $s31 v128)
    (local.set $low (f32x4.splat (local.get $floor)))
    (local.set $high (f32x4.splat (local.get $ceiling)))
    (local.set $aStep (i32.shl (local.get $depth) (i32.const 2)))
    (local.set $cStep (i32.shl (local.get $columns) (i32.const 2)))
    (local.set $panelBytes (i32.shl (local.get $depth) (i32.const 5)))
    (local.set $panel (i32.shr_u (i32.add (local.get $columns) (i32.const 7)) (i32.const 3)))
    (loop $panels
      (local.set $panel (i32.sub (local.get $panel) (i32.const 1)))
      (local.set $bias0 (v128.load (i32.add (local.get $bias) (i32.shl (local.get $panel) (i32.const 5)))))
      (local.set $bias1 (v128.load offset=16 (i32.add (local.get $bias) (i32.shl (local.get $panel) (i32.const 5)))))
      (local.set $pc (i32.add (local.get $c) (i32.shl (local.get $panel) (i32.const 5))))
      (local.set $a0 (local.get $a))
      (local.set $row (local.get $rows))

      ;; four rows at a time
      (block $noMoreFours
        (loop $fours
          (br_if $noMoreFours (i32.lt_u (local.get $row) (i32.const 4)))
          (local.set $a1 (i32.add (local.get $a0) (local.get $aStep)))
          (local.set $a2 (i32.add (local.get $a1) (local.get $aStep)))
          (local.set $a3 (i32.add (local.get $a2) (local.get $aStep)))
          (local.set $s00 (local.get $bias0)) (local.set $s01 (local.get $bias1))
          (local.set $s10 (local.get $bias0)) (local.set $s11 (local.get $bias1))
          (local.set $s20 (local.get $bias0)) (local.set $s21 (local.get $bias1))
          (local.set $s30 (local.get $bias0)) (local.set $s31 (local.get $bias1))
          (local.set $pb (i32.add (local.get $b) (i32.mul (local.get $panel) (local.get $panelBytes))))
          (local.set $k (local.get $depth))
          (loop $depths
            (local.set $w0 (v128.load (local.get $pb)))
            (local.set $w1 (v128.load offset=16 (local.get $pb)))
            (local.set $x (v128.load32_splat (local.get $a0)))
            (local.set $s00 (f32x4.add (local.get $s00) (f32x4.mul (local.get $x) (local.get $w0))))
            (local.set $s01 (f32x4.add (local.get $s01) (f32x4.mul (local.get $x) (local.get $w1))))
            (local.set $x (v128.load32_splat (local.get $a1)))
            (local.set $s10 (f32x4.add (local.get $s10) (f32x4.mul (local.get $x) (local.get $w0))))
            (local.set $s11 (f32x4.add (local.get $s11) (f32x4.mul (local.get $x) (local.get $w1))))
            (local.set $x (v128.load32_splat (local.get $a2)))
            (local.set $s20 (f32x4.add (local.get $s20) (f32x4.mul (local.get $x) (local.get $w0))))
            (local.set $s21 (f32x4.add (local.get $s21) (f32x4.mul (local.get $x) (local.get $w1))))
            (local.set $x (v128.load32_splat (local.get $a3)))
            (local.set $s30 (f32x4.add (local.get $s30) (f32x4.mul (local.get $x) (local.get $w0))))
            (local.set $s31 (f32x4.add (local.get $s31) (f32x4.mul (local.get $x) (local.get $w1))))
            (local.set $a0 (i32.add (local.get $a0) (i32.const 4)))
            (local.set $a1 (i32.add (local.get $a1) (i32.const 4)))
            (local.set $a2 (i32.add (local.get $a2) (i32.const 4)))
            (local.set $a3 (i32.add (local.get $a3) (i32.const 4)))
            (local.set $pb (i32.add (local.get $pb) (i32.const 32)))
            (br_if $depths (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
          ;; the rows in order: each overwrites what the one before it wrote beyond the last column
          (v128.store (local.get $pc) (f32x4.min (f32x4.max (local.get $s00) (local.get $low)) (local.get $high)))
          (v128.store offset=16 (local.get $pc) (f32x4.min (f32x4.max (local.get $s01) (local.get $low)) (local.get $high)))
          (local.set $pc (i32.add (local.get $pc) (local.get $cStep)))
          (v128.store (local.get $pc) (f32x4.min (f32x4.max (local.get $s10) (local.get $low)) (local.get $high)))
          (v128.store offset=16 (local.get $pc) (f32x4.min (f32x4.max (local.get $s11) (local.get $low)) (local.get $high)))
          (local.set $pc (i32.add (local.get $pc) (local.get $cStep)))
          (v128.store (local.get $pc) (f32x4.min (f32x4.max (local.get $s20) (local.get $low)) (local.get $high)))
          (v128.store offset=16 (local.get $pc) (f32x4.min (f32x4.max (local.get $s21) (local.get $low)) (local.get $high)))
          (local.set $pc (i32.add (local.get $pc) (local.get $cStep)))
          (v128.store (local.get $pc) (f32x4.min (f32x4.max (local.get $s30) (local.get $low)) (local.get $high)))
          (v128.store offset=16 (local.get $pc) (f32x4.min (f32x4.max (local.get $s31) (local.get $low)) (local.get $high)))
          (local.set $pc (i32.add (local.get $pc) (local.get $cStep)))
          (local.set $a0 (local.get $a3)) ;; the end of the fourth row: the start of the fifth
          (local.set $row (i32.sub (local.get $row) (i32.const 4)))
          (br $fours)))

      ;; the rows that are left, one at a time
      (block $noMoreOnes
        (loop $ones
          (br_if $noMoreOnes (i32.eqz (local.get $row)))
          (local.set $s00 (local.get $bias0)) (local.set $s01 (local.get $bias1))
          (local.set $pb (i32.add (local.get $b) (i32.mul (local.get $panel) (local.get $panelBytes))))
          (local.set $k (local.get $depth))
          (loop $depths
            (local.set $x (v128.load32_splat (local.get $a0)))
            (local.set $s00 (f32x4.add (local.get $s00) (f32x4.mul (local.get $x) (v128.load (local.get $pb)))))
            (local.set $s01 (f32x4.add (local.get $s01) (f32x4.mul (local.get $x) (v128.load offset=16 (local.get $pb)))))
            (local.set $a0 (i32.add (local.get $a0) (i32.const 4)))
            (local.set $pb (i32.add (local.get $pb) (i32.const 32)))
            (br_if $depths (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
          (v128.store (local.get $pc) (f32x4.min (f32x4.max (local.get $s00) (local.get $low)) (local.get $high)))
          (v128.store offset=16 (local.get $pc) (f32x4.min (f32x4.max (local.get $s01) (local.get $low)) (local.get $high)))
          (local.set $pc (i32.add (local.get $pc) (local.get $cStep)))
          (local.set $row (i32.sub (local.get $row) (i32.const 1)))
          (br $ones)))

      (br_if $panels (local.get $panel))))

  ;; One position of a depthwise convolution: the sum of the products of a window and its weights, and the bias, for
  ;; eight channels at a time.
  (func (export "weigh")
    (param $window i32) (param $weights i32) (param $bias i32) (param $output i32)
    (param $lines i32) (param $across i32) (param $windowStep i32) (param $weightsStep i32) (param $channels i32)
    (param $floor f32) (param $ceiling f32)
    (local $low v128) (local $high v128) (local $s0 v128) (local $s1 v128)
    (local $k i32) (local $end i32) (local $pixel i32) (local $line i32) (local $x i32)
    (local $w i32) (local $v i32) (local $nextWindow i32) (local $nextWeights i32)
    (local.set $low (f32x4.splat (local.get $floor)))
    (local.set $high (f32x4.splat (local.get $ceiling)))
    (local.set $pixel (i32.shl (local.get $channels) (i32.const 2)))
    ;; from the end of a line of the window to the start of the next
    (local.set $nextWindow (i32.sub (local.get $windowStep) (i32.mul (local.get $across) (local.get $pixel))))
    (local.set $nextWeights (i32.sub (local.get $weightsStep) (i32.mul (local.get $across) (local.get $pixel))))
    (loop $eights
      (local.set $s0 (v128.load (i32.add (local.get $bias) (local.get $k))))
      (local.set $s1 (v128.load offset=16 (i32.add (local.get $bias) (local.get $k))))
      (local.set $v (i32.add (local.get $window) (local.get $k)))
      (local.set $w (i32.add (local.get $weights) (local.get $k)))
      (local.set $line (local.get $lines))
      (if (i32.mul (local.get $lines) (local.get $across)) ;; not a window of padding alone
        (then
          (loop $down
            (local.set $x (local.get $across))
            (loop $right
              (local.set $s0
                (f32x4.add (local.get $s0) (f32x4.mul (v128.load (local.get $v)) (v128.load (local.get $w)))))
              (local.set $s1
                (f32x4.add (local.get $s1)
                  (f32x4.mul (v128.load offset=16 (local.get $v)) (v128.load offset=16 (local.get $w)))))
              (local.set $v (i32.add (local.get $v) (local.get $pixel)))
              (local.set $w (i32.add (local.get $w) (local.get $pixel)))
              (br_if $right (local.tee $x (i32.sub (local.get $x) (i32.const 1)))))
            (local.set $v (i32.add (local.get $v) (local.get $nextWindow)))
            (local.set $w (i32.add (local.get $w) (local.get $nextWeights)))
            (br_if $down (local.tee $line (i32.sub (local.get $line) (i32.const 1)))))))
      (v128.store (i32.add (local.get $output) (local.get $k))
        (f32x4.min (f32x4.max (local.get $s0) (local.get $low)) (local.get $high)))
      (v128.store offset=16 (i32.add (local.get $output) (local.get $k))
        (f32x4.min (f32x4.max (local.get $s1) (local.get $low)) (local.get $high)))
      (local.set $k (i32.add (local.get $k) (i32.const 32)))
      (br_if $eights (i32.lt_u (local.get $k) (local.get $pixel))))))
