# `make install`, `make uninstall`, and the Debian package.

PREFIX        ?= /usr/local
prefix        ?= $(PREFIX)
bindir        ?= $(prefix)/bin
datarootdir   ?= $(prefix)/share
pkgdatadir    ?= $(datarootdir)/bailian-fcgi
mandir        ?= $(datarootdir)/man
docdir        ?= $(datarootdir)/doc/bailian-fcgi
completiondir ?= $(datarootdir)/bash-completion/completions
sysconfdir    ?= $(prefix)/etc
unitdir       ?= $(prefix)/lib/systemd/system
sysusersdir   ?= $(prefix)/lib/sysusers.d
tmpfilesdir   ?= $(prefix)/lib/tmpfiles.d
INSTALL       ?= install
confdir       := $(sysconfdir)/bailian-fcgi

# systemd 254 and later can wait longer from attempt to attempt; older ones warn of these settings.
systemd       := $(firstword $(shell sed -n 's/^Version: *\([0-9]*\).*/\1/p' \
                   /usr/lib*/pkgconfig/libsystemd.pc /usr/lib/*/pkgconfig/libsystemd.pc \
                   2>/dev/null) 0)
backoff       := /^@backoff@/d
ifeq ($(shell [ $(systemd) -lt 254 ] || echo yes),yes)
backoff       := s/^@backoff@/Restart/
endif

service_files := $(addprefix build/install/systemd/bailian-fcgi.,service socket)
man_pages     := $(wildcard deploy/man/*.1)
made          := $(service_files) $(addprefix build/install/,env bots.README examples/env \
                   examples/nginx-site.conf man/bailian-fcgi.conf.5)
documents     := README.md README.zh-CN.md CHANGELOG.md .github/SECURITY.md \
                 $(wildcard deploy/grafana-dashboard.json deploy/prometheus-alerts.yml) \
                 $(wildcard deploy/Dockerfile deploy/kubernetes)
examples      := $(filter-out %/bot.json %.in,$(wildcard deploy/examples/*)) \
                 $(wildcard deploy/logrotate)
architecture  := $(shell dpkg --print-architecture 2>/dev/null)
deb           := build/deb/bailian-fcgi_$(VERSION)_$(architecture).deb

to_bin        := $(DESTDIR)$(bindir)
to_pkgdata    := $(DESTDIR)$(pkgdatadir)
to_man        := $(DESTDIR)$(mandir)
to_doc        := $(DESTDIR)$(docdir)
to_conf       := $(DESTDIR)$(confdir)

## install into PREFIX (/usr/local); keeps existing settings
install: $(programs:%=$B/%) $(made)
	$(INSTALL) -D -t $(to_bin) $(programs:%=$B/%)
	$(INSTALL) -D -m 644 -t $(to_pkgdata) $(wildcard nginx/*.conf) nginx/www/chat-widget.js \
	  build/install/examples/nginx-site.conf
	$(INSTALL) -D -m 644 -t $(to_man)/man1 $(man_pages)
	$(INSTALL) -D -m 644 -t $(to_man)/man5 build/install/man/bailian-fcgi.conf.5
	$(INSTALL) -D -m 644 deploy/bash-completion $(DESTDIR)$(completiondir)/bailian-fcgi
	ln -sf bailian-fcgi $(DESTDIR)$(completiondir)/bailian-import
	$(if $(unitdir),$(INSTALL) -D -m 644 -t $(DESTDIR)$(unitdir) $(service_files))
	$(INSTALL) -D -m 644 deploy/systemd/sysusers.conf $(DESTDIR)$(sysusersdir)/bailian-fcgi.conf
	$(INSTALL) -D -m 644 deploy/systemd/tmpfiles.conf $(DESTDIR)$(tmpfilesdir)/bailian-fcgi.conf
	$(INSTALL) -d $(to_doc)/deploy $(to_doc)/examples $(to_doc)/nginx/www
	cp -r $(documents) $(to_doc)
	cp $(wildcard deploy/*.md) $(to_doc)/deploy
	cp $(wildcard nginx/*.md) $(to_doc)/nginx
	cp nginx/www/README.md nginx/www/screenshot.webp $(to_doc)/nginx/www
	cp $(examples) build/install/examples/env $(to_doc)/examples
	@# Links lead to the installed file, or are removed; so are the markers for tests.
	sed -i -E -e '/^ *<!-- (test: |table: |\/table)/d' \
	  -e 's#\[([^]]*)\]\((\.\./)*(LICENSE|\.github/CONTRIBUTING|src/|tests/)[^)]*\)#\1#g' \
	  -e 's#\]\((\.\./)?\.github/#](\1#g' \
	  -e 's#\]\((Dockerfile|kubernetes|[a-z-]*\.(json|yml))\)#](../\1)#g' \
	  $(to_doc)/*.md $(to_doc)/*/*.md $(to_doc)/nginx/www/*.md
	sed -i 's#](\.\./#](#g' $(to_doc)/SECURITY.md
	chmod -R u=rwX,go=rX $(to_doc)
	$(INSTALL) -d $(to_conf)
	[ -e $(to_conf)/env ] || $(INSTALL) -m 640 build/install/env $(to_conf)
	[ -e $(to_conf)/bot.json ] || $(INSTALL) -m 640 deploy/examples/bot.json $(to_conf)
	[ -e $(to_conf)/dashscope-api-key ] || \
	  $(INSTALL) -m 600 /dev/null $(to_conf)/dashscope-api-key
	[ -d $(to_conf)/bots.d ] || $(INSTALL) -d -m 750 $(to_conf)/bots.d
	$(INSTALL) -m 644 build/install/bots.README $(to_conf)/bots.d/README

## remove what `make install` installed; keeps settings that were changed
uninstall: $(made)
	rm -f $(addprefix $(to_bin)/,$(programs)) $(addprefix $(to_man)/man1/,$(notdir $(man_pages))) \
	  $(to_man)/man5/bailian-fcgi.conf.5 $(addprefix $(DESTDIR)$(completiondir)/,$(programs)) \
	  $(addprefix $(DESTDIR)$(unitdir)/,$(notdir $(service_files))) \
	  $(DESTDIR)$(sysusersdir)/bailian-fcgi.conf $(DESTDIR)$(tmpfilesdir)/bailian-fcgi.conf
	rm -rf $(to_doc)
	@if grep -rqF $(pkgdatadir)/ $(DESTDIR)/etc/nginx 2>/dev/null || \
	   [ -n "$$(find $(DESTDIR)/etc/nginx -lname '$(pkgdatadir)/*' 2>/dev/null)" ]; then \
	  find $(to_pkgdata) -type f ! -name '*.conf' -delete; \
	  echo '$(to_pkgdata) stays: $(DESTDIR)/etc/nginx includes its files,' \
	    'and nginx would not start without them'; \
	else rm -rf $(to_pkgdata); fi
	if cmp -s build/install/env $(to_conf)/env; then rm $(to_conf)/env; fi
	if cmp -s deploy/examples/bot.json $(to_conf)/bot.json; then rm $(to_conf)/bot.json; fi
	if cmp -s /dev/null $(to_conf)/dashscope-api-key; then rm $(to_conf)/dashscope-api-key; fi
	rm -f $(to_conf)/bots.d/README
	[ ! -d $(to_conf)/bots.d ] || rmdir --ignore-fail-on-non-empty $(to_conf)/bots.d
	rmdir --ignore-fail-on-non-empty $(to_conf)

# Always rebuilt: the directories may have changed.
build/install/%: deploy/%.in FORCE
	@mkdir -p $(@D)
	@sed -e 's|@bindir@|$(bindir)|g' -e 's|@confdir@|$(confdir)|g' -e '$(backoff)' \
	  -e 's|@pkgdatadir@|$(pkgdatadir)|g' -e 's|@docdir@|$(docdir)|g' $< >$@

# All settings, as an example. Three differ from .env.example, and all must be present; those of
# `make run` are left out.
build/install/examples/env: .env.example deploy/env.head FORCE
	@mkdir -p $(@D)
	@sed -e '1,/^$$/d' -e '/^# Where the nginx that/,/^PORT=/d' \
	  -e 's| `make run` sets True unless it is set.||' \
	  -e 's|^DASHSCOPE_API_KEY_FILE=$$|&$(confdir)/dashscope-api-key|' \
	  -e 's|^BOT_CONFIG_FILE=$$|&$(confdir)/bot.json|' \
	  -e 's|^BOTS_DIR=$$|&$(confdir)/bots.d|' $< | cat deploy/env.head - >$@
	@! grep -q '^HOST=\|^PORT=\|make run. sets' $@ && \
	  [ "$$(grep -c '^[A-Z_]*=$(confdir)/' $@)" = 3 ]

build/install/man/bailian-fcgi.conf.5: deploy/man/settings.awk .env.example FORCE
	@mkdir -p $(@D)
	@awk -v version=$(VERSION) -f deploy/man/settings.awk .env.example >$@

## build a Debian package: build/deb/bailian-fcgi_VERSION_ARCH.deb
deb: deps $(deb)
	@echo $(deb)

# Built from a copy, in which debian/ is at the top.
$(deb): Makefile .env.example LICENSE $(filter %.md,$(documents)) \
        $(shell find src nginx deploy -type f) | deps
	$(call say,DEB ,$@)
	$Qdeploy/make-deb.sh $(VERSION) $(filter -j%,$(MAKEFLAGS))

.PHONY: install uninstall deb
