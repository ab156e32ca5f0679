#!/usr/bin/env python3
"""Checks the Kubernetes manifests and their image without a cluster: every name that one part uses is there in another,
the libraries, the times and the sandbox are right, and nginx takes its configuration."""
import glob
import os
import re
import subprocess
import sys
import tempfile

import yaml

os.environ['PATH'] += ':/usr/sbin'  # nginx, for those who are not root
faults = []


def expect(holds, fault):
    if not holds:
        faults.append(fault)


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


objects = {}
for path in sorted(glob.glob('deploy/kubernetes/*.yaml')):
    for document in yaml.safe_load_all(read(path)):
        key = (document['kind'], document['metadata']['name'])
        expect(key not in objects, f'{path}: {key} is there twice')
        objects[key] = document


def get(kind, name):
    if (kind, name) not in objects:
        sys.exit(f'kubernetes: there is no {kind} {name}')
    return objects[kind, name]


deployment = get('Deployment', 'bailian-fcgi')
pod = deployment['spec']['template']['spec']
labels = deployment['spec']['template']['metadata']['labels']
containers = {container['name']: container for container in pod['containers']}
every = pod['initContainers'] + pod['containers']
volumes = {volume['name']: volume for volume in pod['volumes']}
settings = get('ConfigMap', 'bailian-fcgi')['data']
nginx_conf = get('ConfigMap', 'bailian-fcgi-nginx')['data']['nginx.conf']

# Names.
for kind, name in objects:
    selector = objects[kind, name].get('spec', {}).get('selector')
    if selector:
        expect(selector.get('matchLabels', selector) == labels, f'{kind} {name} selects other pods')
policy = get('NetworkPolicy', 'bailian-fcgi')['spec']
expect(policy['podSelector']['matchLabels'] == labels, 'the NetworkPolicy selects other pods')
target = get('HorizontalPodAutoscaler', 'bailian-fcgi')['spec']['scaleTargetRef']
expect((target['kind'], target['name']) in objects, 'the autoscaler has no target')
ports = {port['name']: port['containerPort'] for c in every for port in c.get('ports', [])}
for port in get('Service', 'bailian-fcgi')['spec']['ports']:
    expect(port['targetPort'] in ports, f"the Service's port leads to {port['targetPort']}")
for rule in policy['ingress']:
    expect(rule.get('from') and all(rule['from']), f'the NetworkPolicy lets everybody in: {rule}')
    for port in rule.get('ports') or [{}]:
        expect(port.get('port') in ports, f'the NetworkPolicy has a port that no container has: {rule}')
listens = {int(port) for port in re.findall(r'listen (\d+)', nginx_conf)}
expect(set(ports.values()) == listens, f'containers have the ports {ports}, nginx listens on {listens}')
for volume in volumes.values():
    if 'secret' in volume:
        expect(('Secret', volume['secret']['secretName']) in objects, f'{volume}: no such Secret')
    if 'configMap' in volume:
        expect(('ConfigMap', volume['configMap']['name']) in objects, f'{volume}: no such ConfigMap')
used = set()
for container in every:
    for mount in container['volumeMounts']:
        used.add(mount['name'])
        expect(mount['name'] in volumes, f"{container['name']} mounts {mount['name']}, which is no volume")
    for source in container.get('envFrom', []):
        expect(('ConfigMap', source['configMapRef']['name']) in objects, f'{source}: no such ConfigMap')
expect(used == set(volumes), f'volumes nobody mounts: {set(volumes) - used}')
expect(len({c['image'] for c in every}) == 1, 'one image for all')

# The image: exactly one package for each library that the program is linked with.
# libssl and libcrypto are in one package.
linked = re.findall(r'-l((?!crypto)\S+)', re.search(r'^libs\s*:=((?:.*\\\n)*.*)$', read('Makefile'), re.M)[1])
runtime = set(re.findall(r'\blib\S+', re.search(r'no-install-recommends(.*?)&&', read('deploy/Dockerfile'), re.S)[1]))
for library in linked:
    package = {name for name in runtime if re.match(rf"lib{library.replace('_', '-')}-?\d", name)}
    expect(package, f'deploy/Dockerfile: the image lacks the library {library}')
    runtime -= package
expect(not runtime, f'deploy/Dockerfile: the program is linked with none of {runtime}')

# Paths.
routes = set(re.findall(r'Route\{"([^"]+)"', read('src/chat/router.cc')))
for container in containers.values():
    for probe in (container.get(name) for name in ('livenessProbe', 'readinessProbe')):
        if not probe:
            continue
        get_ = probe.get('httpGet')
        # A name is looked up in this container only. A port number may be any of the pod's, because its containers
        # share their network.
        own = {port['name'] for port in container.get('ports', [])} | set(ports.values())
        expect((get_ or probe['tcpSocket'])['port'] in own, f"{container['name']}: {probe}: no such port")
        expect(not get_ or get_['path'] in routes, f'{probe}: the responder has no such route')
        expect(not get_ or re.search(rf"\b{get_['path'].strip('/')}\b", nginx_conf), f'{probe}: nginx does not route it')


def mounted(container, path):
    return any(path.startswith(mount['mountPath'] + '/') for mount in container['volumeMounts'])


socket = settings['FCGI_LISTEN']
expect(f'unix:{socket};' in nginx_conf, "nginx's status port goes elsewhere than FCGI_LISTEN")
expect(f'unix:{socket};' in read('nginx/bailian-fcgi.conf'), "the include's socket is not FCGI_LISTEN")
for name in ('responder', 'nginx'):
    expect(mounted(containers[name], socket), f'{name} does not mount the socket')
key = settings['DASHSCOPE_API_KEY_FILE']
expect(mounted(containers['responder'], key), 'the responder does not mount its key')
expect(not mounted(containers['nginx'], key), 'nginx can read the key')
expect(key in pod['initContainers'][0]['command'], 'nobody copies the key')
expect(pod['initContainers'][0]['command'][-2].rsplit('/')[-1] in get('Secret', 'bailian-fcgi-key')['stringData'],
       'the Secret has no such key')
known = set(re.findall(r'^([A-Z_]+)=', read('.env.example'), re.M))
expect(set(settings) <= known, f'unknown settings: {set(settings) - known}')

expect('real_ip_recursive on' not in nginx_conf, 'a visitor behind SNAT can choose his address')

# Times.
grace = pod['terminationGracePeriodSeconds']
pause = int(containers['responder']['lifecycle']['preStop']['exec']['command'][1])
expect(grace > pause + int(settings['DRAIN_TIMEOUT']), 'the grace period is shorter than preStop and DRAIN_TIMEOUT')
defaults = dict(re.findall(r'^([A-Z_]+)=(\d+)$', read('.env.example'), re.M))
expect(int(settings['DRAIN_TIMEOUT']) > int(defaults['TIMEOUT']), 'DRAIN_TIMEOUT is shorter than the longest answer')
connections = int(re.search(r'worker_connections (\d+)', nginx_conf)[1])
expect(connections >= 2 * int(settings['MAX_STREAMS']) + 1000, 'too few worker_connections for MAX_STREAMS')

# Sandbox.
expect(pod['securityContext'] == {'runAsNonRoot': True, 'seccompProfile': {'type': 'RuntimeDefault'}}, 'pod: sandbox')
for container in every:
    context = container['securityContext']
    expect(context['readOnlyRootFilesystem'] and not context['allowPrivilegeEscalation']
           and context['capabilities'] == {'drop': ['ALL']} and context['runAsUser'] > 0, f"{container['name']}: sandbox")
    expect('memory' in container['resources']['limits'], f"{container['name']}: no memory limit")
groups = {container['securityContext']['runAsGroup'] for container in containers.values()}
expect(len(groups) == 1, 'nginx is not in the group of the socket')

# nginx itself, with its paths in our directory.
with tempfile.TemporaryDirectory() as directory:
    text = nginx_conf.replace('/tmp/', directory + '/').replace('/usr/share/bailian-fcgi', directory)
    text = re.sub(r'listen \d+', f'listen unix:{directory}/web', text, count=1)
    text = re.sub(r'listen \d+', f'listen unix:{directory}/ops', text, count=1)
    for name in ('bailian-fcgi.conf', 'bailian-fcgi-http.conf'):
        with open(f'{directory}/{name}', 'w', encoding='utf-8') as file:
            file.write(read(f'nginx/{name}').replace('include fastcgi_params', 'include /etc/nginx/fastcgi_params'))
    with open(f'{directory}/nginx.conf', 'w', encoding='utf-8') as file:
        file.write(text)
    tried = subprocess.run(['nginx', '-e', 'stderr', '-t', '-c', f'{directory}/nginx.conf'], capture_output=True,
                           text=True, check=False)
    expect(tried.returncode == 0, f'nginx: {tried.stderr}')

for fault in faults:
    print(f'kubernetes: {fault}', file=sys.stderr)
sys.exit(bool(faults))
