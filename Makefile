# The two main commands: make dataset TASK=storyboard, make test. Each creates the environment first if it is missing.

PYTHON ?= python3
VENV ?= .venv
TASK ?= storyboard
RUN = $(VENV)/bin
# Passed on by `make dataset`: SOURCE holds one source or several with ; between them, OUT is the run's folder, ARGS holds any further options of `iclora dataset`.
OPTIONS = $(if $(SOURCE),--source "$(subst ;," --source ",$(SOURCE))") $(if $(CAPTIONER),--captioner $(CAPTIONER)) \
          $(if $(SCORER),--scorer $(SCORER)) $(if $(OUT),--out "$(OUT)") $(ARGS)

.PHONY: help setup dataset review page train generate evaluate handover show test slow lowest check miniature bench docs pictures clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/ready ## Create the environment in .venv and install the package with all extras

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; choose a newer one with PYTHON=python3.12."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable ".[all,dev]"
	@touch $@

dataset: $(VENV)/ready ## Make a data set: make dataset TASK=storyboard [SOURCE=films] [CAPTIONER=] [SCORER=] [OUT=]
	@$(RUN)/iclora dataset $(TASK) $(OPTIONS)

review: $(VENV)/ready ## Apply the edited captions.csv and write the data set again
	@$(RUN)/iclora review $(TASK) $(if $(OUT),--out "$(OUT)") --apply "$(or $(OUT),runs/$(TASK))/captions.csv"

page: $(VENV)/ready ## Review in a browser on this machine; Ctrl-C stops it and writes the data set again
	@$(RUN)/iclora review $(TASK) $(if $(OUT),--out "$(OUT)") --serve

train: $(VENV)/ready ## Train a LoRA on the data set: make train TASK=storyboard [OUT=] [ARGS="--set train.steps=2000"]
	@$(RUN)/iclora train $(TASK) $(if $(OUT),--out "$(OUT)") $(ARGS)

generate: $(VENV)/ready ## Generate images with the LoRA: make generate TASK=storyboard PROMPT="..." [OUT=] [ARGS="--given 1=photo.png"]
	@$(RUN)/iclora generate "$(or $(OUT),runs/$(TASK))/training/$(TASK).safetensors" "$(PROMPT)" $(ARGS)

evaluate: $(VENV)/ready ## Compare the LoRA with its base: make evaluate TASK=storyboard [OUT=] [ARGS="--seeds 4"]
	@$(RUN)/iclora evaluate $(TASK) $(if $(OUT),--out "$(OUT)") $(ARGS)

handover: $(VENV)/ready ## Write the LoRA's hand-over: model card, ComfyUI workflows, diffusers script: make handover TASK=storyboard [OUT=] [ARGS="--dtype bf16"]
	@$(RUN)/iclora handover "$(or $(OUT),runs/$(TASK))/training/$(TASK).safetensors" $(ARGS)

show: $(VENV)/ready ## List the tables of a run
	@$(RUN)/iclora show $(TASK) $(if $(OUT),--out "$(OUT)")

# Hundreds of tests start a process: compiled modules are kept even where the environment says otherwise.
test: $(VENV)/ready ## Run the tests, on all cores
	PYTHONDONTWRITEBYTECODE= $(RUN)/python -m pytest -q -n auto --dist worksteal --durations 20

slow: $(VENV)/ready ## Run the slow tests, which take minutes each, and property tests with many examples
	PYTHONDONTWRITEBYTECODE= $(RUN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder -m "slow or hypothesis" --hypothesis-profile many --durations 20

lowest: ## Run the tests with the oldest versions that pyproject.toml allows, in an environment of their own
	$(PYTHON) -m venv $(VENV)/lowest
	$(VENV)/lowest/bin/python -m pip install --quiet uv
	$(VENV)/lowest/bin/uv pip install --quiet --resolution lowest-direct --python $(VENV)/lowest --editable ".[all,dev]"
	$(VENV)/lowest/bin/python -m pytest -q -W default

check: $(VENV)/ready ## Run the formatter check, the linter and the type checker
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy

docs: $(VENV)/ready ## Write the pages that come from the code, and build the documentation in build/docs
	$(RUN)/python -m bench.reference
	$(RUN)/python -m sphinx -E -q -W --keep-going docs build/docs

pictures: $(VENV)/ready ## Make the pictures of README and docs anew: make pictures [ARGS="claim.png --long"]; those with --long take hours
	$(RUN)/python -m bench.pictures $(ARGS)

miniature: $(VENV)/ready ## Train the miniature models from scratch (about three hours on 2 cores, resumable)
	$(RUN)/python -m miniature.making clip
	$(RUN)/python -m miniature.making vlm
	$(RUN)/python -m miniature.making flux
	$(RUN)/python -m miniature.making measure

BENCHMARKS = ingest films corrupted strangers captions batches server compose "scale --largest" memory "memory --vectors" \
             "page --browser" first_words engines shards trainers claim chain

bench: $(VENV)/ready ## Run the benchmarks behind the figures in docs, which takes hours, to the last even if some miss their goals
	@missed=; for words in $(BENCHMARKS); do \
	  echo "python -m bench.$$words"; $(RUN)/python -m bench.$$words || missed="$$missed bench.$${words%% *}"; \
	done; [ -z "$$missed" ] || { echo "error: these missed a goal or failed:$$missed"; exit 1; }

clean: ## Remove the environment (runs stay)
	rm -rf $(VENV)
