{
  description = "OpenAnomaly: forecasts and anomaly scores for Prometheus and VictoriaMetrics";

  # flake.lock pins the revision; `nix flake update` moves it.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      # What the tests start, and what builds and tests the Python extension.
      servers = pkgs: [ pkgs.victoriametrics pkgs.prometheus pkgs.prometheus-alertmanager ];
      python = pkgs: pkgs.python3.withPackages (packages: [ packages.numpy packages.pytest ]);
      rust = pkgs: attributes: pkgs.rustPlatform.buildRustPackage ({
        pname = "openanomaly";
        version = "0.1.0";
        src = self;
        cargoLock.lockFile = ./Cargo.lock;
        nativeBuildInputs = [ (python pkgs) ];
        cargoBuildFlags = [ "--package" "server" ];
        doCheck = false;
      } // attributes);
      # One command over the sources, with every dependency at hand and no network.
      gate = pkgs: name: command: rust pkgs {
        pname = "openanomaly-${name}";
        nativeBuildInputs = [ pkgs.rustfmt pkgs.clippy pkgs.cargo-nextest (python pkgs) ] ++ servers pkgs;
        buildPhase = command;
        installPhase = "touch $out";
      };
    in
    {
      packages = each (pkgs: { default = rust pkgs { }; });

      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.rustc
            pkgs.rustfmt
            pkgs.clippy
            pkgs.rust-analyzer
            pkgs.cargo-nextest
            pkgs.cargo-deny
            pkgs.maturin
            pkgs.nodejs
            pkgs.chromium
            (python pkgs)
          ] ++ servers pkgs;
        };
      });

      checks = each (pkgs: {
        format = gate pkgs "format" "cargo fmt --all --check";
        clippy = gate pkgs "clippy" "cargo clippy --offline --workspace --all-targets -- -D warnings";
        test = gate pkgs "test" ''
          export HOME=$TMPDIR
          cargo nextest run --offline
          cargo test --offline --doc
        '';
      });
    };
}
